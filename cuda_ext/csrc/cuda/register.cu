// Registers the operators for CUDA under the schemas that Python defines. For tests, another
// namespace and key, with the schemas: -DDVS2S_NAMESPACE=... -DDVS2S_KEY=... -DDVS2S_DEFINE_SCHEMAS
#include "operators.cuh"

#ifndef DVS2S_NAMESPACE
#define DVS2S_NAMESPACE dvs2s
#endif
#ifndef DVS2S_KEY
#define DVS2S_KEY CUDA
#endif

#ifdef DVS2S_DEFINE_SCHEMAS
STABLE_TORCH_LIBRARY_FRAGMENT(DVS2S_NAMESPACE, m) {
  m.def(
      "sparse_logits_lse(Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, "
      "Tensor? scales) -> (Tensor logits, Tensor lse)");
  m.def(
      "sparse_topk(Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths, "
      "Tensor? scales, int k) -> (Tensor scores, Tensor slots, Tensor lse)");
  m.def(
      "sparse_cross_entropy_forward(Tensor hidden, Tensor weight, Tensor bias, Tensor ids, "
      "Tensor lengths, Tensor targets) -> (Tensor loss, Tensor lse)");
  m.def(
      "sparse_cross_entropy_backward(Tensor grad, Tensor hidden, Tensor weight, Tensor bias, "
      "Tensor ids, Tensor lengths, Tensor targets, Tensor lse, bool deterministic) -> "
      "(Tensor d_hidden, Tensor d_weight, Tensor d_bias)");
  m.def(
      "monte_carlo_lse(Tensor hidden, Tensor weight, Tensor bias, Tensor membership_bits, "
      "int num_samples) -> Tensor lse");
  m.def(
      "monte_carlo_backward(Tensor grad, Tensor hidden, Tensor weight, Tensor bias, "
      "Tensor membership_bits, Tensor lse, Tensor targets, int num_samples) -> "
      "(Tensor d_hidden, Tensor d_weight, Tensor d_bias)");
  m.def(
      "select_topm(Tensor scores, int num_fixed, int size, Tensor? always) -> "
      "(Tensor ids, Tensor lengths)");
}
#endif

STABLE_TORCH_LIBRARY_IMPL(DVS2S_NAMESPACE, DVS2S_KEY, m) {
  using namespace dvs2s::gpu;
  m.impl("sparse_logits_lse", TORCH_BOX(&sparse_logits_lse));
  m.impl("sparse_topk", TORCH_BOX(&sparse_topk));
  m.impl("sparse_cross_entropy_forward", TORCH_BOX(&sparse_cross_entropy_forward));
  m.impl("sparse_cross_entropy_backward", TORCH_BOX(&sparse_cross_entropy_backward));
  m.impl("monte_carlo_lse", TORCH_BOX(&monte_carlo_lse));
  m.impl("monte_carlo_backward", TORCH_BOX(&monte_carlo_backward));
  m.impl("select_topm", TORCH_BOX(&select_topm));
}
