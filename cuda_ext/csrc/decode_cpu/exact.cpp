#include "exact.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "../cpu/kernels.h"

namespace dvs2s::engine {
namespace {

// Rounding to int8 moves a logit by some hundredths; what is further below cannot become the best.
constexpr float kNear = 1.0f;
// A distribution so flat that more words lie so close has no best word to be missed.
constexpr size_t kMost = 8;

struct Near {
  float logit;
  int64_t slot;
};

// The best slots first; the lower slot among equals.
bool before(const Near& a, const Near& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.slot < b.slot;
}

// The slots whose logits lie near the largest, at most kMost and best first.
size_t find_near(const Line& line, int64_t slots, std::array<Near, kMost>* near) {
  const float above = line.largest - kNear;
  size_t count = 0;
  std::array<int32_t, kChunk> found;
  for (int64_t chunk = 0; chunk < line.chunks; ++chunk) {
    if (!(line.chunk_largest[chunk] > above)) continue;
    const int64_t first = chunk * kChunk, n = std::min(kChunk, slots - first);
    const int64_t hits = kernels().above(line.logits + first, n, above, found.data());
    for (int64_t i = 0; i < hits; ++i) {
      const int64_t slot = first + found[static_cast<size_t>(i)];
      const Near one{line.logits[slot], slot};
      if (count == kMost && !before(one, near->back())) continue;
      count = std::min(count + 1, kMost);
      size_t at = count - 1;
      for (; at > 0 && before(one, (*near)[at - 1]); --at) (*near)[at] = (*near)[at - 1];
      (*near)[at] = one;
    }
  }
  return count;
}

}  // namespace

float make_exact(const Network& net, const Request& request, const float* state, Line line) {
  if (!std::isfinite(line.largest)) return line.sum;
  std::array<Near, kMost> near;
  const size_t count = find_near(line, request.layout.slots, &near);
  const int64_t H = net.sizes.H;
  std::array<const void*, kMost> rows;
  std::array<float, kMost> logits;
  for (size_t i = 0; i < count; ++i) {
    rows[i] = net.source.output + request.ids[static_cast<size_t>(near[i].slot)] * H;
  }
  const void* x = state;
  kernels().f32(rows.data(), static_cast<int>(count), &x, 1, H, logits.data(), kMost, nullptr);
  float before_sum = 0.0f, after_sum = 0.0f;
  for (size_t i = 0; i < count; ++i) {
    const int64_t slot = near[i].slot;
    const float logit =
        logits[i] + net.source.output_bias[request.ids[static_cast<size_t>(slot)]];
    before_sum += std::exp(near[i].logit - line.largest);
    after_sum += std::exp(logit - line.largest);
    line.logits[slot] = logit;
    float& bound = line.chunk_largest[slot / kChunk];
    bound = std::max(bound, logit);
  }
  return std::max(line.sum - before_sum, 0.0f) + after_sum;
}

}  // namespace dvs2s::engine
