// AVX-512: float32 and float16 (F, BW), bfloat16 (BF16), int8 (VNNI).
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma,f16c")
#include <immintrin.h>

namespace dvs2s {
namespace {

inline __mmask16 first16(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

// One tree of sums for one accumulator and for four at once, so that a pair's result does not
// depend on the tile that it is in: within each quarter (0 + 2) + (1 + 3), then the quarters.
inline __m128 quarters(__m512 v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
inline float sum16(__m512 v) {
  v = _mm512_add_ps(v, _mm512_permute_ps(v, 0x4e));
  v = _mm512_add_ps(v, _mm512_permute_ps(v, 0xb1));
  return _mm_cvtss_f32(quarters(v));
}
inline void sum16_of_4(__m512 a, __m512 b, __m512 c, __m512 d, float* out) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
  const __m512 low = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
  const __m512 high = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
  _mm_storeu_ps(out, quarters(_mm512_add_ps(low, high)));
}

struct F32 {
  using Weight = float;
  using Hidden = float;
  using Acc = __m512;
  using LoadW = __m512;
  static constexpr int kLanes = 16, kMaxW = 4, kMaxX = 6;
  static Acc zero() { return _mm512_setzero_ps(); }
  static __m512 load_w(const float* p) { return _mm512_loadu_ps(p); }
  static __m512 load_x(const float* p) { return _mm512_loadu_ps(p); }
  static __m512 tail_w(const float* p, int n) { return _mm512_maskz_loadu_ps(first16(n), p); }
  static __m512 tail_x(const float* p, int n) { return _mm512_maskz_loadu_ps(first16(n), p); }
  static Acc fma(Acc acc, __m512 w, __m512 x) { return _mm512_fmadd_ps(w, x, acc); }
  static int32_t excess(const void*, int64_t) { return 0; }
  static float reduce(Acc acc, int32_t) { return sum16(acc); }
  static void reduce4(const Acc* a, int32_t, float* out) {
    sum16_of_4(a[0], a[1], a[2], a[3], out);
  }
};

struct F16 : F32 {
  using Weight = uint16_t;
  using Hidden = uint16_t;
  static __m512 load_w(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512 load_x(const uint16_t* p) { return load_w(p); }
  static __m512 tail_w(const uint16_t* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
  }
  static __m512 tail_x(const uint16_t* p, int n) { return tail_w(p, n); }
};

struct BF16 {
  using Weight = uint16_t;
  using Hidden = uint16_t;
  using Acc = __m512;
  using LoadW = __m512bh;
  static constexpr int kLanes = 32, kMaxW = 4, kMaxX = 6;
  static Acc zero() { return _mm512_setzero_ps(); }
  static __m512bh load_w(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static __m512bh load_x(const uint16_t* p) { return load_w(p); }
  static __m512bh tail_w(const uint16_t* p, int n) {
    return (__m512bh)_mm512_maskz_loadu_epi16(static_cast<__mmask32>((1ull << n) - 1), p);
  }
  static __m512bh tail_x(const uint16_t* p, int n) { return tail_w(p, n); }
  static Acc fma(Acc acc, __m512bh w, __m512bh x) {  // as in Int8
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
  }
  static int32_t excess(const void*, int64_t) { return 0; }
  static float reduce(Acc acc, int32_t) { return sum16(acc); }
  static void reduce4(const Acc* a, int32_t, float* out) {
    sum16_of_4(a[0], a[1], a[2], a[3], out);
  }
};

#include "quantise.inl"

// VNNI multiplies unsigned by signed: 128 is added to the weights on the way, which is a change of
// one bit, and what it adds to a sum is known from the hidden row alone.
struct Int8 {
  using Weight = int8_t;
  using Hidden = int8_t;
  using Acc = __m512i;
  using LoadW = __m512i;
  static constexpr int kLanes = 64, kMaxW = 4, kMaxX = 5;
  static Acc zero() { return _mm512_setzero_si512(); }
  static __m512i add_128(__m512i w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
  static __m512i load_w(const int8_t* p) { return add_128(_mm512_loadu_si512(p)); }
  static __m512i load_x(const int8_t* p) { return _mm512_loadu_si512(p); }
  static __m512i tail_w(const int8_t* p, int n) { return add_128(tail_x(p, n)); }
  static __m512i tail_x(const int8_t* p, int n) {
    return _mm512_maskz_loadu_epi8((1ull << n) - 1, p);
  }
  // g++ 12 copies the accumulators of _mm512_dpbusd_epi32 to the stack and back
  static Acc fma(Acc acc, __m512i w, __m512i x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
  }
  static int32_t excess(const int8_t* x, int64_t H) { return 128 * quantised_sum(x, H); }
  static float reduce(Acc acc, int32_t excess) {
    return static_cast<float>(_mm512_reduce_add_epi32(acc) - excess);
  }
  // integers: any order is exact
  static void reduce4(const Acc* a, int32_t excess, float* out) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]),
                                        _mm512_unpackhi_epi32(a[0], a[1]));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]),
                                        _mm512_unpackhi_epi32(a[2], a[3]));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd),
                                         _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all),
                                          _mm512_extracti64x4_epi64(all, 1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_ps(out, _mm_cvtepi32_ps(_mm_sub_epi32(four, _mm_set1_epi32(excess))));
  }
};

#include "tile.inl"

// exp for x <= 0 (any float below, NaN stays NaN): Cephes' polynomial, within 2 units in the last
// place; below -104 it is 0, as in exact arithmetic.
inline __m512 exp16(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
  const __m512 n = _mm512_roundscale_ps(
      _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

void stats(const float* z, int64_t n, float* largest, float* sum) {
  const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 top = low;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) top = _mm512_max_ps(top, _mm512_loadu_ps(z + i));
  if (i < n) top = _mm512_max_ps(top, _mm512_mask_loadu_ps(low, first16(n - i), z + i));
  const float m = _mm512_reduce_max_ps(top);
  *largest = m;
  *sum = 0.0f;
  if (std::isinf(m) && m < 0) {
    for (i = 0; i < n; ++i) *sum += z[i] != z[i] ? z[i] : 0.0f;  // NaN beside -inf stays visible
    return;
  }
  const __m512 peak = _mm512_set1_ps(m);
  __m512 total = _mm512_setzero_ps();
  for (i = 0; i + 16 <= n; i += 16) {
    total = _mm512_add_ps(total, exp16(_mm512_sub_ps(_mm512_loadu_ps(z + i), peak)));
  }
  if (i < n) {
    const __mmask16 mask = first16(n - i);
    const __m512 e = exp16(_mm512_sub_ps(_mm512_mask_loadu_ps(peak, mask, z + i), peak));
    total = _mm512_mask_add_ps(total, mask, total, e);
  }
  *sum = sum16(total);
}

int64_t above(const float* z, int64_t n, float threshold, int32_t* found) {
  const __m512 limit = _mm512_set1_ps(threshold);
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 valid = n - i >= 16 ? 0xffff : first16(n - i);
    const __m512 v = _mm512_maskz_loadu_ps(valid, z + i);
    unsigned hits = _mm512_mask_cmp_ps_mask(valid, v, limit, _CMP_GT_OQ);
    for (; hits != 0; hits &= hits - 1) {
      found[count++] = static_cast<int32_t>(i + __builtin_ctz(hits));
    }
  }
  return count;
}

void peaks(const float* z, int64_t n, float* out) {
  static_assert(kPeaks == 64);
  const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 a = low, b = low, c = low, d = low;
  auto take = [&](__m512 peak, int64_t first) {
    if (first >= n) return peak;
    const __mmask16 valid = n - first >= 16 ? 0xffff : first16(static_cast<int>(n - first));
    return _mm512_max_ps(_mm512_mask_loadu_ps(low, valid, z + first), peak);
  };
  for (int64_t i = 0; i < n; i += 64) {
    a = take(a, i), b = take(b, i + 16), c = take(c, i + 32), d = take(d, i + 48);
  }
  _mm512_storeu_ps(out, a);
  _mm512_storeu_ps(out + 16, b);
  _mm512_storeu_ps(out + 32, c);
  _mm512_storeu_ps(out + 48, d);
}

void places(const float* z, int64_t n, int32_t* out) {
  const __m512i one = _mm512_set1_epi32(1);
  for (int64_t first = 0; first < n; first += 16) {
    const int64_t last = std::min(first + 16, n);
    const __mmask16 valid = first16(static_cast<int>(last - first));
    const __m512 mine = _mm512_maskz_loadu_ps(valid, z + first);
    __m512i before = _mm512_setzero_si512();
    int64_t i = 0;
    auto count = [&](__mmask16 hits) { before = _mm512_mask_add_epi32(before, hits, before, one); };
    for (; i < first; ++i) count(_mm512_cmp_ps_mask(_mm512_set1_ps(z[i]), mine, _CMP_GE_OQ));
    for (; i < last; ++i) {  // before those of equal value that come later
      const __mmask16 later = static_cast<__mmask16>(~1u << (i - first));
      const __m512 other = _mm512_set1_ps(z[i]);
      count(_mm512_cmp_ps_mask(other, mine, _CMP_GT_OQ) |
            _mm512_mask_cmp_ps_mask(later, other, mine, _CMP_EQ_OQ));
    }
    for (; i < n; ++i) count(_mm512_cmp_ps_mask(_mm512_set1_ps(z[i]), mine, _CMP_GT_OQ));
    _mm512_mask_storeu_epi32(out + first, valid, before);
  }
}

template <class D>
int64_t peak(int64_t repeats) {
  constexpr int kAccumulators = 16;
  typename D::Acc acc[kAccumulators];
  alignas(64) unsigned char one[64] = {1};
  const auto w = D::load_w(reinterpret_cast<const typename D::Weight*>(one));
  const auto x = D::load_x(reinterpret_cast<const typename D::Hidden*>(one));
  for (auto& a : acc) a = D::zero();
  for (int64_t i = 0; i < repeats; ++i) {
    for (auto& a : acc) {
      a = D::fma(a, w, x);
      asm volatile("" : "+v"(a));  // or the compiler does it all in one step
    }
  }
  return repeats * kAccumulators * D::kLanes;
}

float read(const void* data, int64_t bytes) {
  const auto* p = static_cast<const float*>(data);
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
  int64_t i = 0;
  for (; i + 64 <= bytes / 4; i += 64) {
    for (int j = 0; j < 4; ++j) sum[j] = _mm512_add_ps(sum[j], _mm512_loadu_ps(p + i + 16 * j));
  }
  for (; i + 16 <= bytes / 4; i += 16) sum[0] = _mm512_add_ps(sum[0], _mm512_loadu_ps(p + i));
  return sum16(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

}  // namespace

const Kernels kAvx512 = {"avx512", "avx512_bf16", "avx512_vnni", dots<F32>, dots<BF16>, dots<F16>,
                         dots<Int8>, quantise, stats, above, peaks, places,
                         peak<F32>, peak<BF16>, peak<Int8>, read};

}  // namespace dvs2s
#pragma GCC pop_options
#endif
