// Which words enter a vocabulary: the fixed ones, those that must, and the best of the rest.
#pragma once

#include "numbers.cuh"

namespace dvs2s::gpu {

constexpr int kSelectWarps = 32, kSelectThreads = kSelectWarps * 32, kBins = 2048;

struct SelectArgs {
  const float* scores;   // (B, C) of the words num_fixed ..
  const uint8_t* always; // (B, V) bool, or nullptr
  int64_t C, num_fixed, size, width;
  int64_t* ids;          // (B, width)
  int64_t* lengths;      // (B)
};

struct SelectShared {
  int bins[kBins];
  int counts[kSelectWarps], ties[kSelectWarps];
  int forced, bin, above;
};

// The content words of one example.
struct Candidates {
  const float* scores;
  const uint8_t* always;  // of the content words
  int64_t count;

  DVS2S_DEVICE bool is_forced(int64_t i) const { return always != nullptr && always[i] != 0; }
};

// What comes in: the forced, the words above `order`, and the first `ties` of those equal to it.
struct Threshold {
  uint32_t order;
  int ties;
};

DVS2S_DEVICE int warp_count(int x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
// The sum of x over the lanes before this one.
DVS2S_DEVICE int before_in_warp(int x, int lane) {
  int sum = x;
  for (int step = 1; step < 32; step *= 2) {
    const int from = shuffle(sum, lane >= step ? lane - step : 0);
    if (lane >= step) sum += from;
  }
  return sum - x;
}

DVS2S_DEVICE int count_forced(const Candidates& words, SelectShared& shared) {
  if (thread_index() == 0) shared.forced = 0;
  sync_block();
  int mine = 0;
  for (int64_t i = thread_index(); i < words.count; i += kSelectThreads) mine += words.is_forced(i);
  mine = warp_count(mine);
  if (thread_index() % 32 == 0 && mine > 0) add_atomic(&shared.forced, mine);
  sync_block();
  return shared.forced;
}

// Of `places` words counted from the highest bin down: the bin of the last one, and how many are
// in bins above. By warp 0, 64 bins a lane.
DVS2S_DEVICE void find_bin(SelectShared& shared, int places) {
  const int lane = thread_index();
  const int top = kBins - 1 - lane * (kBins / 32);
  int mine = 0;
  for (int i = 0; i < kBins / 32; ++i) mine += shared.bins[top - i];
  int above = before_in_warp(mine, lane);
  if (above >= places || above + mine < places) return;
  for (int i = 0;; ++i) {
    if (above + shared.bins[top - i] >= places) {
      shared.bin = top - i;
      shared.above = above;
      return;
    }
    above += shared.bins[top - i];
  }
}

// Radix selection of the `places`-th highest score among words that are not forced: 11, 11 and 10
// bits of its order, each from a histogram of the words that agree in the bits before.
// 1 <= places <= how many there are.
DVS2S_DEVICE Threshold find_threshold(const Candidates& words, int places, SelectShared& shared) {
  uint32_t order = 0;
  for (int shift = 21, bits = 11, known = 0; known < 32; known += bits, shift -= bits) {
    if (shift < 0) {
      shift = 0;
      bits = 10;
    }
    for (int i = thread_index(); i < kBins; i += kSelectThreads) shared.bins[i] = 0;
    sync_block();
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t i = thread_index(); i < words.count; i += kSelectThreads) {
      const uint32_t mine = order_of(words.scores[i]);
      const bool agrees = known == 0 || mine >> (32 - known) == order >> (32 - known);
      if (agrees && !words.is_forced(i)) add_atomic(&shared.bins[mine >> shift & mask], 1);
    }
    sync_block();
    if (thread_index() < 32) find_bin(shared, places);
    sync_block();
    order |= static_cast<uint32_t>(shared.bin) << shift;
    places -= shared.above;  // read by all before warp 0 writes again, two barriers later
  }
  return Threshold{order, places};
}

// The run of words that a warp looks at, 32 at a time: whole groups of 32.
struct Run {
  int64_t begin, end;
};
DVS2S_DEVICE Run run_of_warp(int64_t count, int warp) {
  const int64_t groups = (count + 31) / 32, each = (groups + kSelectWarps - 1) / kSelectWarps;
  const int64_t begin = warp * each * 32, end = begin + each * 32;
  return Run{begin < count ? begin : count, end < count ? end : count};
}

// Calls `visit(i, forced or above, equal)` for every word of the warp's run, all lanes together;
// past the run both are false.
template <class Visit>
DVS2S_DEVICE void visit_run(
    const Candidates& words, const Run& run, uint32_t order, const Visit& visit) {
  for (int64_t first = run.begin; first < run.end; first += 32) {
    const int64_t i = first + thread_index() % 32;
    bool in = false, equal = false;
    if (i < run.end) {
      const bool forced = words.is_forced(i);
      const uint32_t mine = order_of(words.scores[i]);
      in = forced || mine > order;
      equal = !forced && mine == order;
    }
    visit(i, in, equal);
  }
}

// Writes the chosen content words, rising, from ids[0] on; returns how many.
DVS2S_DEVICE int write_chosen(
    const Candidates& words, Threshold threshold, int64_t num_fixed, int64_t* ids,
    SelectShared& shared) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const Run run = run_of_warp(words.count, warp);
  int in_run = 0, ties_in_run = 0;
  visit_run(words, run, threshold.order, [&](int64_t, bool in, bool equal) {
    in_run += count_bits(ballot(in));
    ties_in_run += count_bits(ballot(equal));
  });
  if (lane == 0) {
    shared.counts[warp] = in_run;
    shared.ties[warp] = ties_in_run;
  }
  sync_block();
  int at = 0, ties = 0, total = 0, all_ties = 0;  // before this warp's run, and in all
  for (int i = 0; i < kSelectWarps; ++i) {
    if (i == warp) {
      at = total;
      ties = all_ties;
    }
    total += shared.counts[i];
    all_ties += shared.ties[i];
  }
  at += ties < threshold.ties ? ties : threshold.ties;
  const uint32_t before = (1u << lane) - 1;
  visit_run(words, run, threshold.order, [&](int64_t i, bool in, bool equal) {
    const uint32_t equals = ballot(equal);
    const bool tie_in = equal && ties + count_bits(equals & before) < threshold.ties;
    const uint32_t chosen = ballot(in || tie_in);
    if (in || tie_in) ids[at + count_bits(chosen & before)] = num_fixed + i;
    at += count_bits(chosen);
    ties += count_bits(equals);
  });
  return total + (all_ties < threshold.ties ? all_ties : threshold.ties);
}

// One block an example.
DVS2S_KERNEL(kSelectThreads, 1) select_kernel(SelectArgs args) {
  SelectShared& shared = *reinterpret_cast<SelectShared*>(shared_memory());
  const int64_t b = block_index();
  const uint8_t* always = nullptr;
  if (args.always != nullptr) always = args.always + b * (args.num_fixed + args.C) + args.num_fixed;
  const Candidates words{args.scores + b * args.C, always, args.C};
  int64_t* ids = args.ids + b * args.width;
  const int forced = count_forced(words, shared);
  int64_t places = args.size - args.num_fixed - forced;
  Threshold threshold{0xffffffffu, 0};  // none but the forced: no score lies above
  if (places >= args.C - forced) threshold = Threshold{0, 0};  // all: every score lies above
  else if (places > 0) threshold = find_threshold(words, static_cast<int>(places), shared);
  for (int64_t i = thread_index(); i < args.num_fixed; i += kSelectThreads) ids[i] = i;
  const int64_t length =
      args.num_fixed + write_chosen(words, threshold, args.num_fixed, ids + args.num_fixed, shared);
  for (int64_t i = length + thread_index(); i < args.width; i += kSelectThreads) ids[i] = 0;
  if (thread_index() == 0) args.lengths[b] = length;
}

}  // namespace dvs2s::gpu
