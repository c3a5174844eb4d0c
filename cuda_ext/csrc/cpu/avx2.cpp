// AVX2 with FMA and F16C: processors of the last ten years without AVX-512.
#include "kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>

namespace dvs2s {
namespace {

inline float sum8(__m256 v) {
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

template <class T, int N>
struct Padded {  // the last n < N values, zeros after them
  alignas(32) T values[N] = {};
  Padded(const T* p, int n) { std::memcpy(values, p, sizeof(T) * static_cast<size_t>(n)); }
};

struct F32 {
  using Weight = float;
  using Hidden = float;
  using Acc = __m256;
  using LoadW = __m256;
  static constexpr int kLanes = 8, kMaxW = 3, kMaxX = 4;
  static Acc zero() { return _mm256_setzero_ps(); }
  static __m256 load_w(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 load_x(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 tail_w(const float* p, int n) { return load_w(Padded<float, 8>(p, n).values); }
  static __m256 tail_x(const float* p, int n) { return tail_w(p, n); }
  static Acc fma(Acc acc, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, acc); }
  static int32_t excess(const void*, int64_t) { return 0; }
  static float reduce(Acc acc, int32_t) { return sum8(acc); }
};

struct F16 : F32 {
  using Weight = uint16_t;
  using Hidden = uint16_t;
  static __m256 load_w(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256 load_x(const uint16_t* p) { return load_w(p); }
  static __m256 tail_w(const uint16_t* p, int n) {
    return load_w(Padded<uint16_t, 8>(p, n).values);
  }
  static __m256 tail_x(const uint16_t* p, int n) { return tail_w(p, n); }
};

struct BF16 : F16 {
  static __m256 load_w(const uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static __m256 load_x(const uint16_t* p) { return load_w(p); }
  static __m256 tail_w(const uint16_t* p, int n) {
    return load_w(Padded<uint16_t, 8>(p, n).values);
  }
  static __m256 tail_x(const uint16_t* p, int n) { return tail_w(p, n); }
};

struct Int8 {  // widened to 16 bits: exact, where pairs of products of 8 bits would saturate
  using Weight = int8_t;
  using Hidden = int8_t;
  using Acc = __m256i;
  using LoadW = __m256i;
  static constexpr int kLanes = 16, kMaxW = 3, kMaxX = 4;
  static Acc zero() { return _mm256_setzero_si256(); }
  static __m256i load_w(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static __m256i load_x(const int8_t* p) { return load_w(p); }
  static __m256i tail_w(const int8_t* p, int n) { return load_w(Padded<int8_t, 16>(p, n).values); }
  static __m256i tail_x(const int8_t* p, int n) { return tail_w(p, n); }
  static Acc fma(Acc acc, __m256i w, __m256i x) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w, x));
  }
  static int32_t excess(const void*, int64_t) { return 0; }
  static float reduce(Acc acc, int32_t) {
    const __m128i half =
        _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
    const __m128i pair = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return static_cast<float>(
        _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32(pair, 0xb1))));
  }
};

#include "order.inl"
#include "quantise.inl"
#include "tile.inl"

// As in avx512.cpp; below -87.3 it is 0 (AVX2 has no scaling into the denormal numbers).
inline __m256 exp8(__m256 x) {
  const __m256 least = _mm256_set1_ps(-87.3f);
  const __m256 tiny = _mm256_cmp_ps(x, least, _CMP_LT_OQ);
  x = _mm256_max_ps(least, x);
  const __m256 n = _mm256_round_ps(
      _mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_andnot_ps(tiny, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

void stats(const float* z, int64_t n, float* largest, float* sum) {
  float m = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) m = z[i] > m ? z[i] : m;
  *largest = m;
  *sum = 0.0f;
  if (std::isinf(m) && m < 0) {
    for (int64_t i = 0; i < n; ++i) *sum += z[i] != z[i] ? z[i] : 0.0f;
    return;
  }
  const __m256 peak = _mm256_set1_ps(m);
  __m256 total = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    total = _mm256_add_ps(total, exp8(_mm256_sub_ps(_mm256_loadu_ps(z + i), peak)));
  }
  if (i < n) {
    alignas(32) float last[8];
    for (int j = 0; j < 8; ++j) {
      last[j] = i + j < n ? z[i + j] : -std::numeric_limits<float>::infinity();
    }
    total = _mm256_add_ps(total, exp8(_mm256_sub_ps(_mm256_load_ps(last), peak)));
  }
  *sum = sum8(total);
}

int64_t above(const float* z, int64_t n, float threshold, int32_t* found) {
  const __m256 limit = _mm256_set1_ps(threshold);
  int64_t count = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    unsigned hits = static_cast<unsigned>(
        _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(z + i), limit, _CMP_GT_OQ)));
    for (; hits != 0; hits &= hits - 1) {
      found[count++] = static_cast<int32_t>(i + __builtin_ctz(hits));
    }
  }
  for (; i < n; ++i) {
    if (z[i] > threshold) found[count++] = static_cast<int32_t>(i);
  }
  return count;
}

template <class D>
int64_t peak(int64_t repeats) {
  constexpr int kAccumulators = 12;
  typename D::Acc acc[kAccumulators];
  alignas(32) unsigned char one[32] = {1};
  const auto w = D::load_w(reinterpret_cast<const typename D::Weight*>(one));
  const auto x = D::load_x(reinterpret_cast<const typename D::Hidden*>(one));
  for (auto& a : acc) a = D::zero();
  for (int64_t i = 0; i < repeats; ++i) {
    for (auto& a : acc) {
      a = D::fma(a, w, x);
      asm volatile("" : "+x"(a));
    }
  }
  return repeats * kAccumulators * D::kLanes;
}

float read(const void* data, int64_t bytes) {
  const auto* p = static_cast<const float*>(data);
  __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};
  for (int64_t i = 0; i + 32 <= bytes / 4; i += 32) {
    for (int j = 0; j < 4; ++j) sum[j] = _mm256_add_ps(sum[j], _mm256_loadu_ps(p + i + 8 * j));
  }
  return sum8(_mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
}

}  // namespace

const Kernels kAvx2 = {"avx2", "avx2", "avx2", dots<F32>, dots<BF16>, dots<F16>,
                       dots<Int8>, quantise, stats, above, peaks, places,
                       peak<F32>, peak<F32>, peak<Int8>, read};

}  // namespace dvs2s
#pragma GCC pop_options
#endif
