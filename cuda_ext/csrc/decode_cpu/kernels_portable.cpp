// Plain C++, for processors without AVX2.
#include "step_kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace dvs2s::engine {
namespace {

template <class T>
struct Sixteen {
  T lane[kBlockRows];
};

struct F32 {
  using Acc = Sixteen<float>;
  using Weight = const float*;
  using Column = float;
  static constexpr int kMaxColumns = 4, kAccumulators = 4;
  static Acc zero() { return {}; }
  static Weight load(const char* p) { return reinterpret_cast<const float*>(p); }
  static Column column(const char* p) { return *reinterpret_cast<const float*>(p); }
  static Acc fma(Acc acc, Weight w, Column x) {
    for (int i = 0; i < kBlockRows; ++i) acc.lane[i] += w[i] * x;
    return acc;
  }
  static void store(const Acc& acc, const Gemm& g, int64_t row, int c) {
    float* out = g.out + c * g.ld + row;
    for (int i = 0; i < kBlockRows; ++i) out[i] = acc.lane[i] + g.bias[row + i];
  }
};

struct BF16 : F32 {
  using Weight = const uint16_t*;
  using Column = Sixteen<float>;  // two are used
  static float wide(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
  static Weight load(const char* p) { return reinterpret_cast<const uint16_t*>(p); }
  static Column column(const char* p) {
    const auto* x = reinterpret_cast<const uint16_t*>(p);
    return {{wide(x[0]), wide(x[1])}};
  }
  static Acc fma(Acc acc, Weight w, const Column& x) {
    for (int i = 0; i < kBlockRows; ++i) {
      acc.lane[i] += wide(w[2 * i]) * x.lane[0];
      acc.lane[i] += wide(w[2 * i + 1]) * x.lane[1];
    }
    return acc;
  }
};

struct Int8 {
  using Acc = Sixteen<int32_t>;
  using Weight = const int8_t*;
  using Column = const uint8_t*;
  static constexpr int kMaxColumns = 4, kAccumulators = 4;
  static Acc zero() { return {}; }
  static Weight load(const char* p) { return reinterpret_cast<const int8_t*>(p); }
  static Column column(const char* p) { return reinterpret_cast<const uint8_t*>(p); }
  static Acc fma(Acc acc, Weight w, Column x) {
    for (int i = 0; i < kBlockRows; ++i) {
      for (int j = 0; j < 4; ++j) acc.lane[i] += w[4 * i + j] * x[j];
    }
    return acc;
  }
  static void store(const Acc& acc, const Gemm& g, int64_t row, int c) {
    float* out = g.out + c * g.ld + row;
    for (int i = 0; i < kBlockRows; ++i) {
      const auto exact = static_cast<float>(acc.lane[i] - g.w_sum[row + i]);
      out[i] = exact * (g.w_scale[row + i] * g.x_scale[c]) + g.bias[row + i];
    }
  }
};

#include "gemm.inl"
#include "rows.inl"
#include "elementwise.inl"

}  // namespace

const StepKernels kStepPortable = {
    "portable", F32::kMaxColumns, {gemm<F32>, gemm<BF16>, gemm<Int8>}, gates, exp_twice, energy,
    energy_of_sums, mix, tanh_row, {float_row, bfloat_row, int8_row}, dot,
    sketch};

}  // namespace dvs2s::engine
