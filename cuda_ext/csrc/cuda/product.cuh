// Products on tensor cores of tiles of words by tiles of hidden rows.
//
// float32 is multiplied as three products of tf32 parts (x = high + low), which keeps about 21
// bits; the fourth, low by low, would be below them.
#pragma once

#include "tiles.cuh"

namespace dvs2s::gpu {

constexpr int kStages = 3;  // tiles of depth in flight

// Warps along words and hidden rows, and the 16 x 8 fragments of each.
template <int kWarpsM_, int kWarpsN_, int kFragsM_, int kFragsN_>
struct Shape {
  static constexpr int kWarpsN = kWarpsN_, kFragsM = kFragsM_, kFragsN = kFragsN_;
  static constexpr int kM = kWarpsM_ * kFragsM * 16;  // words
  static constexpr int kN = kWarpsN * kFragsN * 8;    // hidden rows
  static constexpr int kThreads = kWarpsM_ * kWarpsN * 32;
  static constexpr int kStageBytes = (kM + kN) * kRowBytes;
  // of a float32 tile of kN rows of kM: 4 modulo 16 spreads the fragments over the banks
  static constexpr int kPitch = kM + 4;
  static constexpr int kTileBytes = kN * kPitch * 4;
  static_assert(kFragsN % 2 == 0);
};

template <class S>
struct Sums {
  float values[S::kFragsM][S::kFragsN][4];

  DVS2S_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < S::kFragsM; ++m) {
#pragma unroll
      for (int n = 0; n < S::kFragsN; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) values[m][n][i] = 0.0f;
      }
    }
  }

  // Calls `put(word, row, x, y)` with this thread's sums of a word with rows row and row + 1.
  template <class Put>
  DVS2S_DEVICE void each(const Put& put) const {
    const int lane = thread_index() % 32, warp = thread_index() / 32;
    const int m0 = warp / S::kWarpsN * S::kFragsM * 16, n0 = warp % S::kWarpsN * S::kFragsN * 8;
#pragma unroll
    for (int m = 0; m < S::kFragsM; ++m) {
#pragma unroll
      for (int n = 0; n < S::kFragsN; ++n) {
        const float(&four)[4] = values[m][n];
        const int word = m0 + m * 16 + lane / 4, row = n0 + n * 8 + lane % 4 * 2;
        put(word, row, four[0], four[1]);
        put(word + 8, row, four[2], four[3]);
      }
    }
  }

  // Writes the sums to a tile of S::kN rows of S::kPitch floats.
  DVS2S_DEVICE void write(float* tile) const {
    each([&](int word, int row, float x, float y) {
      tile[row * S::kPitch + word] = x;
      tile[(row + 1) * S::kPitch + word] = y;
    });
  }
};

DVS2S_DEVICE void multiply(bf16, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply_bf16(c, a, b);
}
DVS2S_DEVICE void multiply(f16, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  multiply_f16(c, a, b);
}

// What tf32 keeps of a float32, and what is left of it.
template <int kCount>
DVS2S_DEVICE void split_tf32(
    const uint32_t (&x)[kCount], uint32_t (&high)[kCount], uint32_t (&low)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    high[i] = x[i] & 0xffffe000u;
    low[i] = float_to_tf32(bits_float(x[i]) - bits_float(high[i]));
  }
}
DVS2S_DEVICE void multiply(float, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
  split_tf32(a, a_high, a_low);
  split_tf32(b, b_high, b_low);
  multiply_tf32(c, a_low, b_high);
  multiply_tf32(c, a_high, b_low);
  multiply_tf32(c, a_high, b_high);
}

// sums += words · rowsᵀ over the first `steps` of the 4 steps of 32 bytes of one stage.
template <class T, class S>
DVS2S_DEVICE void multiply_stage(
    Sums<S>& sums, const char* word_tile, const char* row_tile, int steps = 4) {
  const int lane = thread_index() % 32, warp = thread_index() / 32;
  const int m0 = warp / S::kWarpsN * S::kFragsM * 16, n0 = warp % S::kWarpsN * S::kFragsN * 8;
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    if (step >= steps) break;
    uint32_t a[S::kFragsM][4], b[S::kFragsN][2];
#pragma unroll
    for (int m = 0; m < S::kFragsM; ++m) {
      const int row = m0 + m * 16 + lane % 16;
      load_matrices(a[m], word_tile + place(row, step * 32 + lane / 16 * 16));
    }
#pragma unroll
    for (int n = 0; n < S::kFragsN; n += 2) {
      const int row = n0 + n * 8 + lane % 8 + lane / 16 * 8;
      uint32_t two[4];
      load_matrices(two, row_tile + place(row, step * 32 + lane / 8 % 2 * 16));
      b[n][0] = two[0];
      b[n][1] = two[1];
      b[n + 1][0] = two[2];
      b[n + 1][1] = two[3];
    }
#pragma unroll
    for (int m = 0; m < S::kFragsM; ++m) {
#pragma unroll
      for (int n = 0; n < S::kFragsN; ++n) multiply(T{}, sums.values[m][n], a[m], b[n]);
    }
  }
}

// Multiplies `num_chunks` chunks of kM words by the same kN rows. `word_row(chunk, i)` is the
// weight row of word i of a chunk, or nullptr; `finish(chunk, sums)` gets each product, and may
// synchronise the block. The copies of the next chunk are under way while a chunk is finished.
// Takes kStages * S::kStageBytes of shared memory.
template <class T, class S, class WordRow, class Finish>
DVS2S_DEVICE void multiply_chunks(
    char* stages, const Matrix& words, const Matrix& hidden,
    const Rows<S::kN, S::kThreads>& hidden_rows, int64_t num_chunks, const WordRow& word_row,
    const Finish& finish) {
  const int64_t depths = (hidden.width + kDepth<T> - 1) / kDepth<T>;
  const int64_t total = num_chunks * depths;
  Rows<S::kM, S::kThreads> word_rows;
  int64_t next = 0, next_chunk = 0, next_depth = 0;  // what is loaded next
  const auto load = [&]() {
    if (next < total) {
      char* stage = stages + next % kStages * S::kStageBytes;
      if (next_depth == 0) word_rows.find([&](int i) { return word_row(next_chunk, i); });
      const int64_t k = next_depth * kDepth<T>;
      word_rows.template load<T>(stage, k, words.width, words.reading, words.data);
      hidden_rows.template load<T>(
          stage + S::kM * kRowBytes, k, hidden.width, hidden.reading, hidden.data);
      if (++next_depth == depths) {
        next_depth = 0;
        ++next_chunk;
      }
    }
    commit_copies();
    ++next;
  };
  for (int i = 0; i < kStages - 1; ++i) load();
  Sums<S> sums;
  sums.clear();
  int64_t depth = 0, chunk = 0;
  for (int64_t i = 0; i < total; ++i) {
    wait_copies<kStages - 2>();
    sync_block();  // stage i is there for all, and stage i - 1 has been read by all
    load();
    const char* stage = stages + i % kStages * S::kStageBytes;
    multiply_stage<T, S>(sums, stage, stage + S::kM * kRowBytes);
    if (++depth == depths) {
      finish(chunk++, sums);
      sums.clear();
      depth = 0;
    }
  }
  wait_copies<0>();
}

}  // namespace dvs2s::gpu
