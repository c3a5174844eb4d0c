// AVX-512: float32 (F), bfloat16 (BF16), int8 (VNNI).
#include "step_kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma,f16c")
#include <immintrin.h>

namespace dvs2s::engine {
namespace {

inline __mmask16 first16(int64_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1u);
}

struct F32 {
  using Acc = __m512;
  using Weight = __m512;
  using Column = __m512;
  static constexpr int kMaxColumns = 12, kAccumulators = 24;
  static Acc zero() { return _mm512_setzero_ps(); }
  static Weight load(const char* p) { return _mm512_loadu_ps(p); }
  static Column column(const char* p) {
    return _mm512_set1_ps(*reinterpret_cast<const float*>(p));
  }
  static Acc fma(Acc acc, Weight w, Column x) { return _mm512_fmadd_ps(w, x, acc); }
  static void store(Acc acc, const Gemm& g, int64_t row, int c) {
    _mm512_storeu_ps(g.out + c * g.ld + row, _mm512_add_ps(acc, _mm512_loadu_ps(g.bias + row)));
  }
};

struct BF16 : F32 {
  using Weight = __m512bh;
  using Column = __m512bh;
  static Weight load(const char* p) { return (__m512bh)_mm512_loadu_si512(p); }
  static Column column(const char* p) {
    return (__m512bh)_mm512_set1_epi32(*reinterpret_cast<const int*>(p));
  }
  static Acc fma(Acc acc, Weight w, Column x) { return _mm512_dpbf16_ps(acc, w, x); }
};

struct Int8 {
  using Acc = __m512i;
  using Weight = __m512i;
  using Column = __m512i;
  static constexpr int kMaxColumns = 12, kAccumulators = 24;
  static Acc zero() { return _mm512_setzero_si512(); }
  static Weight load(const char* p) { return _mm512_loadu_si512(p); }
  static Column column(const char* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const int*>(p));
  }
  // Not the intrinsic: around it g++ 12 copies every accumulator to the stack and back, at half the
  // speed.
  static Acc fma(Acc acc, Weight w, Column x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
  }
  static void store(Acc acc, const Gemm& g, int64_t row, int c) {
    const __m512i exact = _mm512_sub_epi32(acc, _mm512_loadu_si512(g.w_sum + row));
    const __m512 scale =
        _mm512_mul_ps(_mm512_loadu_ps(g.w_scale + row), _mm512_set1_ps(g.x_scale[c]));
    _mm512_storeu_ps(
        g.out + c * g.ld + row,
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), scale, _mm512_loadu_ps(g.bias + row)));
  }
};

#include "gemm.inl"
#include "rows.inl"

// Cephes' polynomial, within 2 units in the last place; 0 below -104, inf above 88.8; NaN stays.
inline __m512 exp16(__m512 x) {
  x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
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
inline __m512 sigmoid16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}
// 1 - 2 / (exp(2 x) + 1): its error is absolute, 1e-7, which is what a state can feel.
inline __m512 tanh16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 e = exp16(_mm512_add_ps(x, x));
  return _mm512_fnmadd_ps(
      _mm512_set1_ps(2.0f), _mm512_div_ps(one, _mm512_add_ps(e, one)), one);
}

void gates(
    const float* inputs, const float* more, const float* states, const float* h, int64_t H,
    float* out) {
  for (int64_t i = 0; i < H; i += 16) {
    const __mmask16 m = first16(H - i);
    __m512 in[3], from[3];
    for (int gate = 0; gate < 3; ++gate) {
      in[gate] = _mm512_maskz_loadu_ps(m, inputs + gate * H + i);
      if (more != nullptr) {
        in[gate] = _mm512_add_ps(in[gate], _mm512_maskz_loadu_ps(m, more + gate * H + i));
      }
      from[gate] = _mm512_maskz_loadu_ps(m, states + gate * H + i);
    }
    const __m512 reset = sigmoid16(_mm512_add_ps(in[0], from[0]));
    const __m512 update = sigmoid16(_mm512_add_ps(in[1], from[1]));
    const __m512 fresh = tanh16(_mm512_fmadd_ps(reset, from[2], in[2]));
    const __m512 old = _mm512_maskz_loadu_ps(m, h + i);
    const __m512 next = _mm512_fmadd_ps(update, _mm512_sub_ps(old, fresh), fresh);
    _mm512_mask_storeu_ps(out + i, m, next);
  }
}

float exp_twice(const float* x, int64_t n, float* out) {
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    const __m512 v = _mm512_maskz_loadu_ps(m, x + i);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
    _mm512_mask_storeu_ps(out + i, m, exp16(_mm512_add_ps(v, v)));
  }
  return _mm512_reduce_max_ps(largest);
}

float energy(const float* exp_q, const float* exp_k, const float* v, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    const __m512 d = _mm512_fmadd_ps(
        _mm512_maskz_loadu_ps(m, exp_q + i), _mm512_maskz_loadu_ps(m, exp_k + i), one);
    __m512 r = _mm512_rcp14_ps(d);
    r = _mm512_mul_ps(r, _mm512_fnmadd_ps(d, r, two));  // one step of Newton's: 2^-27
    __m512& sum = sums[(i >> 4) & 1];
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, v + i), r, sum);
  }
  return -2.0f * _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
}

float energy_of_sums(const float* q, const float* k, const float* v, int64_t n) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    const __m512 x =
        _mm512_add_ps(_mm512_maskz_loadu_ps(m, q + i), _mm512_maskz_loadu_ps(m, k + i));
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, v + i), tanh16(x), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

void mix(const float* rows, int64_t ld, const float* weights, int64_t S, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 64) {
    __m512 acc[4];
    for (auto& a : acc) a = _mm512_setzero_ps();
    for (int64_t s = 0; s < S; ++s) {
      const __m512 w = _mm512_set1_ps(weights[s]);
      const float* row = rows + s * ld + i;
      for (int j = 0; j < 4; ++j) {
        const int64_t left = n - i - 16 * j;
        const __mmask16 m = left > 0 ? first16(left) : static_cast<__mmask16>(0);
        acc[j] = _mm512_fmadd_ps(w, _mm512_maskz_loadu_ps(m, row + 16 * j), acc[j]);
      }
    }
    for (int j = 0; j < 4; ++j) {
      const int64_t left = n - i - 16 * j;
      if (left > 0) _mm512_mask_storeu_ps(out + i + 16 * j, first16(left), acc[j]);
    }
  }
}

void tanh_row(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    _mm512_mask_storeu_ps(x + i, m, tanh16(_mm512_maskz_loadu_ps(m, x + i)));
  }
}

float dot(const float* a, const float* b, int64_t n) {
  __m512 sums[4];
  for (auto& s : sums) s = _mm512_setzero_ps();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    __m512& sum = sums[(i >> 4) & 3];
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), sum);
  }
  return _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

inline __m512 numbers_only(__m512 x) {
  const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  return _mm512_mask_mov_ps(low, _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
}

template <bool kCoarse>
void sketch_of(const SketchCall& call) {
  constexpr int64_t kUnits = sketch_units(kCoarse), kAll = sketch_units(false);
  const __m512i four_bits = _mm512_set1_epi8(15), offset = _mm512_set1_epi32(call.offset);
  const __m512 x_scale = _mm512_set1_ps(call.x_scale);
  const __m512 spread_rest = _mm512_set1_ps(call.spread.rest);
  const __m512 spread_scale = _mm512_set1_ps(call.spread.scale);
  __m512i x[kAll];
  for (int64_t u = 0; u < kAll; ++u) {
    int four;
    std::memcpy(&four, call.x + u * kUnitBytes, sizeof(four));
    x[u] = _mm512_set1_epi32(four);
  }
  for (int64_t block = 0; block < call.blocks; ++block) {
    const uint8_t* w = call.rows + block * kUnits * kBlockRows * kUnitBytes;
    __m512i low = _mm512_setzero_si512(), high = low;
    for (int64_t u = 0; u < kAll / 2; ++u) {
      const __m512i one = _mm512_loadu_si512(w + u * kBlockRows * kUnitBytes);
      if constexpr (kCoarse) {
        const __m512i upper = _mm512_srli_epi16(one, 4);
        low = Int8::fma(low, x[u], _mm512_and_si512(one, four_bits));
        high = Int8::fma(high, x[kAll / 2 + u], _mm512_and_si512(upper, four_bits));
      } else {
        low = Int8::fma(low, x[u], one);
        high = Int8::fma(
            high, x[kAll / 2 + u],
            _mm512_loadu_si512(w + (kAll / 2 + u) * kBlockRows * kUnitBytes));
      }
    }
    const int64_t row = block * kBlockRows;
    const __m512 scale = _mm512_loadu_ps(call.scale + row);
    const __m512 score = _mm512_fmadd_ps(
        _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_add_epi32(low, high), offset)),
        _mm512_mul_ps(scale, x_scale), _mm512_loadu_ps(call.bias + row));
    const __m512 left_out = _mm512_mul_ps(spread_rest, _mm512_loadu_ps(call.rest + row));
    const __m512 rounded = _mm512_mul_ps(spread_scale, scale);
    const __m512 error = _mm512_add_ps(
        _mm512_max_ps(left_out, rounded),
        _mm512_mul_ps(_mm512_set1_ps(Spread::kLesserShare), _mm512_min_ps(left_out, rounded)));
    const __m512 above = numbers_only(_mm512_add_ps(score, error));
    const __m512 below = numbers_only(_mm512_sub_ps(above, _mm512_add_ps(error, error)));
    _mm512_storeu_ps(call.high + row, above);
    call.top_high[block] = _mm512_reduce_max_ps(above);
    call.top_low[block] = _mm512_reduce_max_ps(below);
  }
}

void sketch(const SketchCall& call) { (call.coarse ? sketch_of<true> : sketch_of<false>)(call); }

}  // namespace

const StepKernels kStepAvx512 = {
    "avx512", F32::kMaxColumns, {gemm<F32>, gemm<BF16>, gemm<Int8>}, gates, exp_twice, energy,
    energy_of_sums, mix, tanh_row, {float_row, bfloat_row, int8_row}, dot,
    sketch};

}  // namespace dvs2s::engine
#pragma GCC pop_options
#endif
