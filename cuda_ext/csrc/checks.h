// Shape, type and device checks shared by the operators; messages name argument, value and mend.
#pragma once

#include <cstdint>
#include <optional>

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

namespace dvs2s {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Sizes {
  int64_t B, R, H, V, K;
};

// Checks hidden (B, R, H), weight (V, H), bias (V), ids (B, K), lengths (B); returns the sizes.
inline Sizes check_sizes(
    const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids,
    const Tensor& lengths, const std::optional<Tensor>& scales) {
  STD_TORCH_CHECK(hidden.dim() == 3, "hidden must be (B, R, H), got ", hidden.dim(), " dimensions");
  STD_TORCH_CHECK(weight.dim() == 2, "weight must be (V, H), got ", weight.dim(), " dimensions");
  STD_TORCH_CHECK(ids.dim() == 2, "ids must be (B, K), got ", ids.dim(), " dimensions");
  const Sizes s{hidden.size(0), hidden.size(1), hidden.size(2), weight.size(0), ids.size(1)};
  STD_TORCH_CHECK(
      weight.size(1) == s.H, "weight must be (V, H) with hidden's H = ", s.H, ", got ",
      weight.size(1));
  STD_TORCH_CHECK(
      bias.dim() == 1 && bias.size(0) == s.V, "bias must be (V) with weight's V = ", s.V);
  STD_TORCH_CHECK(
      ids.size(0) == s.B && lengths.dim() == 1 && lengths.size(0) == s.B,
      "ids must be (B, K) and lengths (B) with hidden's B = ", s.B, ", got ", ids.size(0), " and ",
      lengths.size(0));
  if (weight.scalar_type() == ScalarType::Char) {
    STD_TORCH_CHECK(
        scales.has_value() && scales->dim() == 1 && scales->size(0) == s.V &&
            scales->scalar_type() == ScalarType::Float,
        "scales must be (V) float32 with int8 weight: one scale a row");
    STD_TORCH_CHECK(s.H <= 65536, "H must be at most 65536 with int8 weight, got ", s.H);
  } else {
    STD_TORCH_CHECK(!scales.has_value(), "scales go with int8 weight only: pass None");
    STD_TORCH_CHECK(
        weight.scalar_type() == hidden.scalar_type(),
        "weight and hidden must have one type, or weight int8: convert one");
  }
  return s;
}

}  // namespace dvs2s
