// Plain C++ for every other processor, and the twin that the others are tested against.
#include "kernels.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

namespace dvs2s {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

template <class T, class Sum>
void dots(
    const void* const* w, int nw, const void* const* x, int nx, int64_t H, float* out, int64_t ld,
    const void* const*) {
  constexpr int kLanes = 8;  // partial sums: shorter chains, smaller errors
  for (int i = 0; i < nw; ++i) {
    const T* row = static_cast<const T*>(w[i]);
    for (int j = 0; j < nx; ++j) {
      const T* hidden = static_cast<const T*>(x[j]);
      Sum part[kLanes] = {};
      int64_t k = 0;
      for (; k + kLanes <= H; k += kLanes) {
        for (int l = 0; l < kLanes; ++l) {
          part[l] += static_cast<Sum>(row[k + l]) * static_cast<Sum>(hidden[k + l]);
        }
      }
      for (int l = 0; l < kLanes && k < H; ++k, ++l) {
        part[l] += static_cast<Sum>(row[k]) * static_cast<Sum>(hidden[k]);
      }
      Sum total = 0;
      for (Sum p : part) total += p;
      out[j * ld + i] = static_cast<float>(total);
    }
  }
}

#include "order.inl"
#include "quantise.inl"

void stats(const float* z, int64_t n, float* largest, float* sum) {
  float m = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) m = z[i] > m ? z[i] : m;
  float total = 0.0f;
  const bool nothing = std::isinf(m) && m < 0;
  for (int64_t i = 0; i < n; ++i) {
    total += nothing ? (z[i] != z[i] ? z[i] : 0.0f) : std::exp(z[i] - m);
  }
  *largest = m;
  *sum = total;
}

int64_t above(const float* z, int64_t n, float threshold, int32_t* found) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (z[i] > threshold) found[count++] = static_cast<int32_t>(i);
  }
  return count;
}

template <class T, class Sum>
int64_t peak(int64_t repeats) {
  constexpr int kRow = 64;
  T one[kRow] = {};
  const void* rows[] = {one};
  float out = 0.0f;
  for (int64_t i = 0; i < repeats; ++i) {
    dots<T, Sum>(rows, 1, rows, 1, kRow, &out, 1, nullptr);
    asm volatile("" : : "m"(out) : "memory");
  }
  return repeats * kRow;
}

float read(const void* data, int64_t bytes) {
  const auto* p = static_cast<const float*>(data);
  float sum[8] = {};
  for (int64_t i = 0; i + 8 <= bytes / 4; i += 8) {
    for (int j = 0; j < 8; ++j) sum[j] += p[i + j];
  }
  float total = 0.0f;
  for (float s : sum) total += s;
  return total;
}

}  // namespace

const Kernels kPortable = {"portable", "portable", "portable", dots<float, float>,
                           dots<BFloat16, float>, dots<Half, float>, dots<int8_t, int32_t>, quantise,
                           stats, above, peaks, places, peak<float, float>, peak<BFloat16, float>,
                           peak<int8_t, int32_t>, read};

}  // namespace dvs2s
