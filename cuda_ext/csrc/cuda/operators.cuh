// The CUDA operators, one for each schema of the namespace dvs2s.
#pragma once

#include <tuple>

#include "tensors.cuh"

namespace dvs2s::gpu {

// logits (B, R, K) float32, -inf past the length; lse (B, R).
std::tuple<Tensor, Tensor> sparse_logits_lse(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, MaybeTensor scales);

// scores (B, R, k) float32, slots (B, R, k) int64; lse (B, R).
std::tuple<Tensor, Tensor, Tensor> sparse_topk(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, MaybeTensor scales,
    int64_t k);

// loss, lse (B, R).
std::tuple<Tensor, Tensor> sparse_cross_entropy_forward(
    Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, Tensor targets);

// d_hidden (B, R, H), d_weight (V, H), d_bias (V), all float32.
std::tuple<Tensor, Tensor, Tensor> sparse_cross_entropy_backward(
    Tensor grad, Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths,
    Tensor targets, Tensor lse, bool deterministic);

// lse (B, R, M).
Tensor monte_carlo_lse(
    Tensor hidden, Tensor weight, Tensor bias, Tensor membership_bits, int64_t num_samples);

// d_hidden (B, R, H), d_weight (V, H), d_bias (V), all float32.
std::tuple<Tensor, Tensor, Tensor> monte_carlo_backward(
    Tensor grad, Tensor hidden, Tensor weight, Tensor bias, Tensor membership_bits, Tensor lse,
    Tensor targets, int64_t num_samples);

// ids (B, K) int64, K = min(size, V), or V with `always`; lengths (B) int64.
std::tuple<Tensor, Tensor> select_topm(
    Tensor scores, int64_t num_fixed, int64_t size, MaybeTensor always);

}  // namespace dvs2s::gpu
