// The 64 best of a stream of candidates, kept sorted by one warp: two a lane.
#pragma once

#include "numbers.cuh"

namespace dvs2s::gpu {

constexpr int kMostBest = 64;

// Ranks (numbers.cuh) at places lane and lane + 32 of a list of 64. Rank 0 is an empty place.
struct Best {
  uint64_t low, high;
};

DVS2S_DEVICE uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
DVS2S_DEVICE uint64_t smaller(uint64_t a, uint64_t b) { return a > b ? b : a; }

// One column of a bitonic network: compares places that differ by `stride`. Within blocks of
// `size` places the order alternates, falling first.
DVS2S_DEVICE Best compare(Best list, int size, int stride, int lane) {
  if (stride == 32) {  // size is 64: falling throughout
    return Best{larger(list.low, list.high), smaller(list.low, list.high)};
  }
  const uint64_t low = shuffle_xor(list.low, stride), high = shuffle_xor(list.high, stride);
  const bool first = (lane & stride) == 0;
  const bool low_falls = (lane & size) == 0, high_falls = ((lane + 32) & size) == 0;
  return Best{
      first == low_falls ? larger(list.low, low) : smaller(list.low, low),
      first == high_falls ? larger(list.high, high) : smaller(list.high, high)};
}

DVS2S_DEVICE Best sort_falling(Best list, int lane) {
  for (int size = 2; size <= 64; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) list = compare(list, size, stride, lane);
  }
  return list;
}

// The 64 best of two falling lists, falling.
DVS2S_DEVICE Best merge_falling(Best a, Best b, int lane) {
  // the larger of a[i] and b[63 - i] are the 64 best, in bitonic order
  const uint64_t mirror_high = shuffle(b.high, 31 - lane), mirror_low = shuffle(b.low, 31 - lane);
  Best best{larger(a.low, mirror_high), larger(a.high, mirror_low)};
  for (int stride = 32; stride > 0; stride /= 2) best = compare(best, 64, stride, lane);
  return best;
}

// Reads and writes the first k places of a list; the rest are empty.
DVS2S_DEVICE Best read_best(const uint64_t* list, int k, int lane) {
  return Best{lane < k ? list[lane] : 0, lane + 32 < k ? list[lane + 32] : 0};
}
DVS2S_DEVICE void write_best(uint64_t* list, Best best, int k, int lane) {
  if (lane < k) list[lane] = best.low;
  if (lane + 32 < k) list[lane + 32] = best.high;
}

// Takes unsorted candidates into a falling list of k.
DVS2S_DEVICE void add_candidates(uint64_t* list, Best candidates, int k, int lane) {
  const uint64_t worst = list[k - 1];
  // most chunks late in a long vocabulary have nothing to add
  if (ballot(candidates.low > worst || candidates.high > worst) == 0) return;
  const Best merged =
      merge_falling(read_best(list, k, lane), sort_falling(candidates, lane), lane);
  sync_warp();
  write_best(list, merged, k, lane);
  sync_warp();
}

}  // namespace dvs2s::gpu
