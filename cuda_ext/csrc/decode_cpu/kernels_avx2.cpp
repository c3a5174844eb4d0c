// AVX2 with FMA.
#include "step_kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>

namespace dvs2s::engine {
namespace {

struct Pair {
  __m256 low, high;
};
struct PairInt {
  __m256i low, high;
};

inline Pair load_pair(const void* p) {
  const auto* f = static_cast<const float*>(p);
  return {_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)};
}
inline PairInt load_bytes(const void* p) {
  const auto* v = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
}

struct F32 {
  using Acc = Pair;
  using Weight = Pair;
  using Column = __m256;
  static constexpr int kMaxColumns = 6, kAccumulators = 6;
  static Acc zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Weight load(const char* p) { return load_pair(p); }
  static Column column(const char* p) {
    return _mm256_set1_ps(*reinterpret_cast<const float*>(p));
  }
  static Acc fma(Acc acc, Weight w, Column x) {
    return {_mm256_fmadd_ps(w.low, x, acc.low), _mm256_fmadd_ps(w.high, x, acc.high)};
  }
  static void store(Acc acc, const Gemm& g, int64_t row, int c) {
    const Pair bias = load_pair(g.bias + row);
    float* out = g.out + c * g.ld + row;
    _mm256_storeu_ps(out, _mm256_add_ps(acc.low, bias.low));
    _mm256_storeu_ps(out + 8, _mm256_add_ps(acc.high, bias.high));
  }
};

struct BF16 : F32 {
  using Weight = PairInt;
  using Column = Pair;  // the even element everywhere, the odd element everywhere
  static Weight load(const char* p) { return load_bytes(p); }
  static __m256 even(__m256i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
  static __m256 odd(__m256i v) {
    return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static Column column(const char* p) {
    const __m256i both = _mm256_set1_epi32(*reinterpret_cast<const int*>(p));
    return {even(both), odd(both)};
  }
  static Acc fma(Acc acc, Weight w, Column x) {
    acc.low = _mm256_fmadd_ps(even(w.low), x.low, acc.low);
    acc.high = _mm256_fmadd_ps(even(w.high), x.low, acc.high);
    acc.low = _mm256_fmadd_ps(odd(w.low), x.high, acc.low);
    acc.high = _mm256_fmadd_ps(odd(w.high), x.high, acc.high);
    return acc;
  }
};

struct Int8 {
  using Acc = PairInt;
  using Weight = PairInt;
  using Column = PairInt;  // even bytes alone, odd bytes alone: no 16-bit sum can overflow
  static constexpr int kMaxColumns = 6, kAccumulators = 6;
  static Acc zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Weight load(const char* p) { return load_bytes(p); }
  static Column column(const char* p) {
    const __m256i all = _mm256_set1_epi32(*reinterpret_cast<const int*>(p));
    const __m256i even = _mm256_set1_epi16(0x00ff);
    return {_mm256_and_si256(all, even), _mm256_andnot_si256(even, all)};
  }
  static __m256i products(__m256i w, Column x) {
    const __m256i ones = _mm256_set1_epi16(1);
    return _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_maddubs_epi16(x.low, w), ones),
        _mm256_madd_epi16(_mm256_maddubs_epi16(x.high, w), ones));
  }
  static Acc fma(Acc acc, Weight w, Column x) {
    return {_mm256_add_epi32(acc.low, products(w.low, x)),
            _mm256_add_epi32(acc.high, products(w.high, x))};
  }
  static void store(Acc acc, const Gemm& g, int64_t row, int c) {
    const PairInt sum = load_bytes(g.w_sum + row);
    const Pair scale = load_pair(g.w_scale + row), bias = load_pair(g.bias + row);
    const __m256 x_scale = _mm256_set1_ps(g.x_scale[c]);
    float* out = g.out + c * g.ld + row;
    const __m256 low = _mm256_cvtepi32_ps(_mm256_sub_epi32(acc.low, sum.low));
    const __m256 high = _mm256_cvtepi32_ps(_mm256_sub_epi32(acc.high, sum.high));
    _mm256_storeu_ps(out, _mm256_fmadd_ps(low, _mm256_mul_ps(scale.low, x_scale), bias.low));
    _mm256_storeu_ps(out + 8, _mm256_fmadd_ps(high, _mm256_mul_ps(scale.high, x_scale), bias.high));
  }
};

#include "gemm.inl"
#include "rows.inl"
#include "elementwise.inl"

}  // namespace

const StepKernels kStepAvx2 = {
    "avx2", F32::kMaxColumns, {gemm<F32>, gemm<BF16>, gemm<Int8>}, gates, exp_twice, energy,
    energy_of_sums, mix, tanh_row, {float_row, bfloat_row, int8_row}, dot,
    sketch};

}  // namespace dvs2s::engine
#pragma GCC pop_options
#endif
