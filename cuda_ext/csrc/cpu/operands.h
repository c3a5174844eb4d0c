// The operators' arguments, checked once and made ready for the dot products.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include <torch/csrc/stable/ops.h>

#include "../checks.h"
#include "kernels.h"

namespace dvs2s {

template <class F>
void parallel(int64_t n, const F& work) {
  if (n <= 0) return;
  torch::stable::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) { work(begin, end); });
}

// Splits items with prefix sums `starts` (n + 1 of them) into runs of about equal weight.
template <class F>
void parallel_by_weight(const std::vector<int64_t>& starts, const F& work) {
  const int64_t n = static_cast<int64_t>(starts.size()) - 1;
  const int64_t parts = 4 * static_cast<int64_t>(torch::stable::get_num_threads());
  auto cut = [&](int64_t part) {
    const int64_t goal = starts.back() * part / parts;
    return std::lower_bound(starts.begin(), starts.end() - 1, goal) - starts.begin();
  };
  parallel(parts, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = cut(part), last = part + 1 == parts ? n : cut(part + 1);
      if (first < last) work(first, last);
    }
  });
}

// A tensor in one piece and of one type: itself where it is, since asking torch's dispatcher for
// nothing costs half a microsecond.
inline Tensor plain(const Tensor& tensor, ScalarType type) {
  const Tensor typed = tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
  return typed.is_contiguous() ? typed : torch::stable::contiguous(typed);
}

struct Operands {
  int64_t B, R, H, V, K;
  Dots dots;
  const int64_t* ids;
  std::vector<int64_t> lengths;

  Operands(
      const Tensor& hidden, const Tensor& weight, const Tensor& bias, const Tensor& ids_in,
      const Tensor& lengths_in, const std::optional<Tensor>& scales)
      : hidden_(plain(hidden, hidden.scalar_type())),
        weight_(plain(weight, weight.scalar_type())),
        ids_(plain(ids_in, ScalarType::Long)) {
    const Sizes s = check_sizes(hidden, weight, bias, ids_in, lengths_in, scales);
    B = s.B, R = s.R, H = s.H, V = s.V, K = s.K;
    weight_data_ = static_cast<const char*>(weight_.const_data_ptr());
    hidden_data_ = static_cast<const char*>(hidden_.const_data_ptr());
    ids = static_cast<const int64_t*>(ids_.const_data_ptr());
    keep_bias_ = plain(bias, ScalarType::Float);
    bias_ = static_cast<const float*>(keep_bias_->const_data_ptr());
    read_lengths(lengths_in);
    const Kernels& k = kernels();
    switch (weight.scalar_type()) {
      case ScalarType::Double: dots = nullptr; element_ = 8; break;  // sparse_ops.cpp
      case ScalarType::Float: dots = k.f32; element_ = 4; break;
      case ScalarType::BFloat16: dots = k.bf16; element_ = 2; break;
      case ScalarType::Half: dots = k.f16; element_ = 2; break;
      case ScalarType::Char: dots = k.int8; element_ = 1; quantise(k, *scales); break;
      default:
        STD_TORCH_CHECK(false, "weight must be float64, float32, bfloat16, float16 or int8: convert it");
    }
  }

  const void* row(int64_t word) const {
    return weight_data_ + word * H * element_;
  }
  const void* hidden_row(int64_t i) const {
    if (!quantised_.empty()) return quantised_row(i);
    return hidden_data_ + i * H * element_;
  }
  float bias(int64_t word) const { return bias_[word]; }
  bool is_scaled() const { return row_scale_ != nullptr; }
  float row_scale(int64_t word) const { return is_scaled() ? row_scale_[word] : 1.0f; }
  float hidden_scale(int64_t i) const { return hidden_scale_[i]; }
  float logit(float dot, int64_t word, int64_t i) const {
    if (is_scaled()) dot *= row_scale_[word] * hidden_scale_[i];
    return dot + bias_[word];
  }

 private:
  // quantised rows start with a cache line: loads of whole vectors that span two take twice as long
  static constexpr int64_t kLine = 64;
  struct alignas(kLine) Line {
    int8_t values[kLine];
  };
  const int8_t* quantised_row(int64_t i) const { return quantised_[i * lines_a_row_].values; }
  int8_t* quantised_row(int64_t i) { return quantised_[i * lines_a_row_].values; }

  void read_lengths(const Tensor& lengths_in) {
    const Tensor flat = plain(lengths_in, ScalarType::Long);
    const auto* n = static_cast<const int64_t*>(flat.const_data_ptr());
    lengths.assign(n, n + B);
    for (int64_t b = 0; b < B; ++b) {
      STD_TORCH_CHECK(
          n[b] >= 0 && n[b] <= K, "lengths must lie in 0..K = ", K, ", got ", n[b], " for input ",
          b);
      for (int64_t k = 0; k < n[b]; ++k) {
        STD_TORCH_CHECK(
            ids[b * K + k] >= 0 && ids[b * K + k] < V, "ids must lie in 0..", V - 1, ", got ",
            ids[b * K + k], " for input ", b, ": use the weight's own words");
      }
    }
  }

  void quantise(const Kernels& k, const Tensor& scales) {
    keep_scales_ = plain(scales, ScalarType::Float);
    row_scale_ = static_cast<const float*>(keep_scales_->const_data_ptr());
    lines_a_row_ = (H + kSumBytes + kLine - 1) / kLine;
    quantised_.resize(static_cast<size_t>(B * R * lines_a_row_));
    hidden_scale_.resize(static_cast<size_t>(B * R));
    const Tensor flat = plain(hidden_, ScalarType::Float);
    const auto* x = static_cast<const float*>(flat.const_data_ptr());
    parallel(B * R, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        hidden_scale_[i] = k.quantise(x + i * H, H, quantised_row(i));
      }
    });
  }

  Tensor hidden_, weight_, ids_;
  std::optional<Tensor> keep_bias_, keep_scales_;
  const char* weight_data_ = nullptr;
  const char* hidden_data_ = nullptr;
  const float* bias_ = nullptr;
  const float* row_scale_ = nullptr;
  std::vector<Line> quantised_;
  int64_t lines_a_row_ = 0;
  std::vector<float> hidden_scale_;
  int64_t element_ = 4;
};

}  // namespace dvs2s
