// Few logits of a row have a chance to be among the best: a limit that k of them reach is found
// first, what reaches it is listed, and the few are put in order by counting, where a sorted list
// that grows with every better logit mispredicts a branch at each.
#include "best.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dvs2s {
namespace {

constexpr int64_t kScan = 64;  // slots looked through at a time
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

// A limit that at least k logits lie above: a little below the k-th largest peak.
float limit_for(const Kernels& kernels, const float* z, int64_t n, int64_t k) {
  if (k > kPeaks) return kMinusInf;
  float peaks[kPeaks];
  int32_t places[kPeaks];
  kernels.peaks(z, n, peaks);
  kernels.places(peaks, kPeaks, places);
  const float peak = peaks[std::find(places, places + kPeaks, k - 1) - places];
  if (peak == std::numeric_limits<float>::infinity()) return std::numeric_limits<float>::max();
  return peak - std::max(std::abs(peak) * 1e-6f, std::numeric_limits<float>::min());
}

// The k best of what lies above the limit, by counting; returns how many there are, or -1 where
// more than can be counted lie above it.
int64_t counted(const Kernels& kernels, const float* z, int64_t n, int64_t k, float limit,
                float* top, int64_t* slots) {
  float values[kPeaks];
  int64_t at[kPeaks];
  int64_t count = 0;
  for (int64_t first = 0; first < n; first += kScan) {
    int32_t found[kScan];
    const int64_t hits = kernels.above(z + first, std::min(kScan, n - first), limit, found);
    if (count + hits > kPeaks) return -1;
    for (int64_t h = 0; h < hits; ++h, ++count) {
      at[count] = first + found[h];
      values[count] = z[at[count]];
    }
  }
  int32_t places[kPeaks];
  kernels.places(values, count, places);
  for (int64_t i = 0; i < count; ++i) {
    if (places[i] >= k) continue;  // the limit is a little low, and peaks are not all
    top[places[i]] = values[i];
    slots[places[i]] = at[i];
  }
  return std::min(count, k);
}

// The same for any number of them, by insertion; the limit rises to the k-th best so far.
int64_t inserted(const Kernels& kernels, const float* z, int64_t n, int64_t k, float limit,
                 float* top, int64_t* slots) {
  int64_t have = 0;
  int32_t found[kScan];
  for (int64_t first = 0; first < n; first += kScan) {
    const int64_t hits = kernels.above(z + first, std::min(kScan, n - first), limit, found);
    for (int64_t h = 0; h < hits; ++h) {
      const int64_t slot = first + found[h];
      if (!(z[slot] > limit)) continue;  // the limit rose meanwhile
      int64_t place = have < k ? have : k - 1;
      for (; place > 0 && top[place - 1] < z[slot]; --place) {
        top[place] = top[place - 1];
        slots[place] = slots[place - 1];
      }
      top[place] = z[slot];
      slots[place] = slot;
      if (have < k) ++have;
      if (have == k) limit = top[k - 1];
    }
  }
  return have;
}

}  // namespace

void best(const Kernels& kernels, const float* z, int64_t n, int64_t k, float* top, int64_t* slots) {
  const float limit = limit_for(kernels, z, n, k);
  int64_t have = counted(kernels, z, n, k, limit, top, slots);
  if (have < 0) have = inserted(kernels, z, n, k, limit, top, slots);
  for (int64_t slot = 0; have < k; ++slot) {
    if (z[slot] == kMinusInf || z[slot] != z[slot]) {
      top[have] = kMinusInf;
      slots[have++] = slot;
    }
  }
}

}  // namespace dvs2s
