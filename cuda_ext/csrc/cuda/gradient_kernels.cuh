// Gradients of hidden states, weight rows and bias from the gradients of the logits.
#pragma once

#include "product.cuh"

namespace dvs2s::gpu {

struct BackwardArgs {
  const void* d_logits;   // (B·R, pitch) of T
  int64_t pitch;
  Matrix weight, hidden;  // (V, H), (B·R, H)
  // The words of example b's slots: ids (B, K) up to lengths (B); or, with ids.data nullptr, the K
  // words from first_word on for all, of which those whose bit in `used` is 0 are not read.
  Integers ids, lengths;
  int64_t first_word;
  const uint32_t* used;
  int64_t B, R, K, V, H;
  int64_t row_tiles, width_tiles, slot_tiles;
  bool add;               // to d_hidden, rather than overwrite it
  float* d_hidden;        // (B·R, H)
  float* d_weight;        // (V, H)
  float* d_bias;          // (V)
  const int32_t* slot_map;  // (V, B): the slot of a word in an example, or -1

  DVS2S_DEVICE int64_t num_slots(int64_t b) const {
    if (ids.data == nullptr) return K;
    const int64_t length = lengths.at(b);
    return length < K ? length : K;
  }
  // The word of a slot below num_slots, or -1 for one that must not be read.
  DVS2S_DEVICE int64_t word(int64_t b, int64_t slot) const {
    if (ids.data == nullptr) {
      const int64_t word = first_word + slot;
      return used == nullptr || (used[word / 32] >> (word % 32) & 1) ? word : -1;
    }
    const int64_t id = ids.at(b * K + slot);
    return id < 0 || id >= V ? -1 : id;
  }
};

using SmallGradient = Shape<4, 1, 1, 4>;  // 64 x 32: an example's own words
using LargeGradient = Shape<4, 2, 2, 4>;  // 128 x 64: all rows share the words

template <class S>
constexpr int kBlocks = 512 / S::kThreads;  // of a multiprocessor

// A tile whose operand lies across: element (i, k) is in a row k of memory, at i. A thread has one
// k and some units along i; the writes of a warp go along k and meet no bank conflict.
template <int kRows, int kThreads, class T>
struct Across {
  static constexpr int kGroups = kThreads / kDepth<T>;
  static constexpr int kCount = kRows / kUnit<T> / kGroups;
  static_assert(kCount >= 1 && kRows % (kUnit<T> * kGroups) == 0);
  Unit units[kCount];

  DVS2S_DEVICE static int depth() { return thread_index() % kDepth<T>; }
  DVS2S_DEVICE static int first(int j) {
    return (thread_index() / kDepth<T> + j * kGroups) * kUnit<T>;
  }

  // `row` is where element 0 of this thread's k lies, or nullptr; `count` elements may be read.
  template <Reading kReading>
  DVS2S_DEVICE void fetch_as(const T* row, int64_t count) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) units[j] = read_unit<T, kReading>(row, first(j), count);
  }
  DVS2S_DEVICE void fetch(const T* row, int64_t count, Reading reading) {
    if (reading == Reading::kUnits) fetch_as<Reading::kUnits>(row, count);
    else fetch_as<Reading::kElements>(row, count);
  }
  DVS2S_DEVICE void store(char* tile) const {
    constexpr int kSize = static_cast<int>(sizeof(T));
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      union {
        Unit unit;
        T values[kUnit<T>];
      };
      unit = units[j];
#pragma unroll
      for (int e = 0; e < kUnit<T>; ++e) {
        *reinterpret_cast<T*>(tile + place(first(j) + e, depth() * kSize)) = values[e];
      }
    }
  }
};

// A tile whose operand lies along: rows of d_logits, read up to the last unit that begins below
// the width (the room after it holds zeros).
template <int kRows, int kThreads, class T>
struct Along {
  Rows<kRows, kThreads> rows;
  Unit units[Rows<kRows, kThreads>::kCount];

  DVS2S_DEVICE void fetch(int64_t k0, int64_t width) {
    const int64_t k = k0 + thread_index() % 8 * kUnit<T>;
#pragma unroll
    for (int i = 0; i < rows.kCount; ++i) {
      units[i] = read_unit<T, Reading::kUnits>(rows.rows[i], k, width);
    }
  }
  DVS2S_DEVICE void store(char* tile) const {
#pragma unroll
    for (int i = 0; i < rows.kCount; ++i) {
      *reinterpret_cast<Unit*>(tile + place(rows.index(i), thread_index() % 8 * 16)) = units[i];
    }
  }
};

// sums += the products over `depth`, tile by tile; `fetch(k0)` reads a tile into registers,
// `store(stage)` writes it to shared memory. Takes two stages.
template <class T, class S, class Fetch, class Store>
DVS2S_DEVICE void multiply_staged(
    Sums<S>& sums, char* stages, int64_t depth, const Fetch& fetch, const Store& store) {
  const int64_t tiles = (depth + kDepth<T> - 1) / kDepth<T>;
  if (tiles <= 0) return;
  fetch(0);
  store(stages);
  sync_block();
  for (int64_t i = 0; i < tiles; ++i) {
    const bool more = i + 1 < tiles;
    const char* stage = stages + i % 2 * S::kStageBytes;
    if (more) fetch((i + 1) * kDepth<T>);
    const int64_t bytes = (depth - i * kDepth<T>) * static_cast<int64_t>(sizeof(T));
    const int steps = bytes >= kRowBytes ? 4 : static_cast<int>((bytes + 31) / 32);
    multiply_stage<T, S>(sums, stage, stage + S::kM * kRowBytes, steps);
    if (more) store(stages + (i + 1) % 2 * S::kStageBytes);
    sync_block();
  }
}

template <class S>
constexpr size_t staged_bytes() {
  return 2 * static_cast<size_t>(S::kStageBytes);
}

// d_hidden (b, rows, widths) = Σ over slots of d_logits · weight rows.
template <class T, class S>
DVS2S_KERNEL(S::kThreads, kBlocks<S>) hidden_gradient_kernel(BackwardArgs args) {
  int64_t index = block_index();
  const int64_t row0 = index % args.row_tiles * S::kN;
  index /= args.row_tiles;
  const int64_t h0 = index % args.width_tiles * S::kM, b = index / args.width_tiles;
  const int64_t slots = args.num_slots(b);
  Across<S::kM, S::kThreads, T> widths;
  Along<S::kN, S::kThreads, T> d_logits;
  d_logits.rows.find([&](int i) -> const void* {
    if (row0 + i >= args.R) return nullptr;
    return static_cast<const T*>(args.d_logits) + (b * args.R + row0 + i) * args.pitch;
  });
  const auto fetch = [&](int64_t k0) {
    const int64_t slot = k0 + widths.depth();
    const int64_t word = slot < slots ? args.word(b, slot) : -1;
    const T* row = static_cast<const T*>(args.weight.data) + word * args.H + h0;
    widths.fetch(word < 0 ? nullptr : row, args.H - h0, args.weight.reading);
    d_logits.fetch(k0, slots);
  };
  const auto store = [&](char* stage) {
    widths.store(stage);
    d_logits.store(stage + S::kM * kRowBytes);
  };
  Sums<S> sums;
  sums.clear();
  multiply_staged<T, S>(sums, shared_memory(), slots, fetch, store);
  const auto put = [&](int64_t h, int64_t row, float sum) {
    if (h >= args.H || row >= args.R) return;
    float* at = args.d_hidden + (b * args.R + row) * args.H + h;
    *at = args.add ? *at + sum : sum;
  };
  sums.each([&](int m, int n, float x, float y) {
    put(h0 + m, row0 + n, x);
    put(h0 + m, row0 + n + 1, y);
  });
}

// d_weight (words of b, widths) = Σ over rows of d_logits · hidden; kAtomic adds, for words that
// several examples have.
template <class T, class S, bool kAtomic>
DVS2S_KERNEL(S::kThreads, kBlocks<S>) weight_gradient_kernel(BackwardArgs args) {
  int64_t index = block_index();
  const int64_t h0 = index % args.width_tiles * S::kN;
  index /= args.width_tiles;
  const int64_t slot0 = index % args.slot_tiles * S::kM, b = index / args.slot_tiles;
  const int64_t slots = args.num_slots(b);
  if (slot0 >= slots) return;
  Across<S::kM, S::kThreads, T> words;
  Across<S::kN, S::kThreads, T> widths;
  const auto fetch = [&](int64_t k0) {
    const int64_t row = b * args.R + k0 + words.depth();
    const bool there = k0 + words.depth() < args.R;
    const T* d_logits = static_cast<const T*>(args.d_logits) + row * args.pitch + slot0;
    const T* hidden = static_cast<const T*>(args.hidden.data) + row * args.H + h0;
    words.fetch(there ? d_logits : nullptr, slots - slot0, Reading::kUnits);
    widths.fetch(there ? hidden : nullptr, args.H - h0, args.hidden.reading);
  };
  const auto store = [&](char* stage) {
    words.store(stage);
    widths.store(stage + S::kM * kRowBytes);
  };
  Sums<S> sums;
  sums.clear();
  multiply_staged<T, S>(sums, shared_memory(), args.R, fetch, store);
  sums.each([&](int m, int n, float x, float y) {
    const int64_t slot = slot0 + m, h = h0 + n;
    if (slot >= slots || h >= args.H) return;
    const int64_t word = kAtomic ? args.word(b, slot) : args.first_word + slot;
    if (word < 0) return;
    float* at = args.d_weight + word * args.H + h;
    if constexpr (kAtomic) {
      if (h + 1 < args.H) add_atomic_pair(at, x, y);
      else add_atomic(at, x);
    } else {
      at[0] = x;
      if (h + 1 < args.H) at[1] = y;
    }
  });
}

constexpr int kBiasWarps = 16;

// d_bias of 32 slots of example b: a lane a slot, the rows split over the warps.
template <class T, bool kAtomic>
DVS2S_KERNEL(kBiasWarps * 32, 2) bias_gradient_kernel(BackwardArgs args) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int64_t slot = block_index() % args.slot_tiles * 32 + lane;
  const int64_t b = block_index() / args.slot_tiles;
  const bool there = slot < args.num_slots(b);
  float sum = 0.0f;
  const T* d_logits = static_cast<const T*>(args.d_logits) + b * args.R * args.pitch + slot;
  if (there) {
#pragma unroll 8
    for (int64_t r = warp; r < args.R; r += kBiasWarps) sum += to_float(d_logits[r * args.pitch]);
  }
  float* parts = reinterpret_cast<float*>(shared_memory());
  parts[warp * 32 + lane] = sum;
  sync_block();
  if (warp != 0 || !there) return;
  for (int i = 1; i < kBiasWarps; ++i) sum += parts[i * 32 + lane];
  const int64_t word = kAtomic ? args.word(b, slot) : args.first_word + slot;
  if (word < 0) return;
  if constexpr (kAtomic) add_atomic(args.d_bias + word, sum);
  else args.d_bias[word] = sum;
}

constexpr int kMapThreads = 256;

DVS2S_KERNEL(kMapThreads, 4) fill_slot_map_kernel(int32_t* slot_map, int64_t count) {
  const int64_t first = block_index() * block_size() + thread_index();
  for (int64_t i = first; i < count; i += num_blocks() * block_size()) slot_map[i] = -1;
}

DVS2S_KERNEL(kMapThreads, 4) write_slot_map_kernel(BackwardArgs args, int32_t* slot_map) {
  const int64_t i = block_index() * block_size() + thread_index();
  const int64_t b = i / args.K, slot = i % args.K;
  if (b >= args.B || slot >= args.num_slots(b)) return;
  const int64_t word = args.word(b, slot);
  if (word >= 0) slot_map[word * args.B + b] = static_cast<int32_t>(slot);
}

constexpr int kOrderedThreads = 128, kOrderedWidths = 8;

// The same sums as weight_gradient_kernel and bias_gradient_kernel in one order always: a block
// owns a word (and up to 1,024 widths of its row) and walks the examples that have it.
template <class T>
DVS2S_KERNEL(kOrderedThreads, 8) ordered_gradient_kernel(BackwardArgs args) {
  const int64_t word = block_index() / args.width_tiles;
  const int64_t h0 =
      block_index() % args.width_tiles * (kOrderedThreads * kOrderedWidths) + thread_index();
  float sums[kOrderedWidths] = {}, bias = 0.0f;
  for (int64_t b = 0; b < args.B; ++b) {
    const int64_t slot = args.slot_map[word * args.B + b];
    if (slot < 0) continue;
    for (int64_t row = b * args.R; row < (b + 1) * args.R; ++row) {
      const float d = to_float(static_cast<const T*>(args.d_logits)[row * args.pitch + slot]);
      const T* hidden = static_cast<const T*>(args.hidden.data) + row * args.H;
      bias += d;
#pragma unroll
      for (int i = 0; i < kOrderedWidths; ++i) {
        const int64_t h = h0 + i * kOrderedThreads;
        if (h < args.H) sums[i] += d * to_float(hidden[h]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kOrderedWidths; ++i) {
    const int64_t h = h0 + i * kOrderedThreads;
    if (h < args.H) args.d_weight[word * args.H + h] = sums[i];
  }
  if (h0 == 0) args.d_bias[word] = bias;
}

}  // namespace dvs2s::gpu
