// What the operators need of an instruction set: one table of functions for each.
#pragma once

#include <cstdint>
#include <cstring>

namespace dvs2s {

// Dots of nw weight rows with nx hidden rows, H long: out[j * ld + i] = <w[i], x[j]> in float32.
// A pair's sum is made in one order, whatever nw and nx are: results do not depend on the batch.
// `next` (nullptr, or nw pointers) are rows that the caller reads afterwards: prefetched. nw is at
// most kMostWords.
constexpr int kMostWords = 64;
using Dots = void (*)(
    const void* const* w, int nw, const void* const* x, int nx, int64_t H, float* out, int64_t ld,
    const void* const* next);

// A hidden row in int8 for the dots, as quantise.inl says: n values, then their sum, of which an
// instruction set may have need; returns its scale.
using Quantise = float (*)(const float* x, int64_t n, int8_t* out);
constexpr int64_t kSumBytes = sizeof(int32_t);
inline int32_t quantised_sum(const int8_t* row, int64_t n) {
  int32_t sum;
  std::memcpy(&sum, row + n, sizeof(sum));
  return sum;
}
inline void set_quantised_sum(int8_t* row, int64_t n, int32_t sum) {
  std::memcpy(row + n, &sum, sizeof(sum));
}

// Largest value of n logits, and the sum of exp(z - largest); (-inf, 0) where all are -inf.
using Stats = void (*)(const float* z, int64_t n, float* largest, float* sum);

// Writes the places i < n with z[i] > threshold, rising, to `found`; returns how many.
using Above = int64_t (*)(const float* z, int64_t n, float threshold, int32_t* found);

// Largest of the logits i, i + kPeaks, i + 2 kPeaks ... of n, for each i < kPeaks; NaN left out, -inf
// where there is none.
constexpr int kPeaks = 64;
using Peaks = void (*)(const float* z, int64_t n, float* peaks);

// Where each of n <= kPeaks logits, none of them NaN, stands in falling order, ties as they come.
using Places = void (*)(const float* z, int64_t n, int32_t* places);

// For benchmarks, the machine's own limits: `repeats` rounds of independent multiply-adds in
// registers, returning how many products; and all of n bytes loaded, once.
using Peak = int64_t (*)(int64_t repeats);
using Read = float (*)(const void* data, int64_t bytes);

struct Kernels {
  const char* isa;       // of float32, the statistics and the scan
  const char* isa_bf16;  // of bfloat16
  const char* isa_int8;  // of int8
  Dots f32, bf16, f16;
  Dots int8;  // w int8, x as `quantise` writes it; the sum of products as a float
  Quantise quantise;
  Stats stats;
  Above above;
  Peaks peaks;
  Places places;
  Peak peak_f32, peak_bf16, peak_int8;
  Read read;
};

// The best table for this processor, or the one that DVS2S_CPU_ISA (avx512, avx2, portable) asks
// for and the processor has. Chosen once.
const Kernels& kernels();

// Each names what it was built for; not to be called where the processor lacks it.
extern const Kernels kAvx512;
extern const Kernels kAvx2;
extern const Kernels kPortable;

}  // namespace dvs2s
