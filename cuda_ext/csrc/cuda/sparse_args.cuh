// What the kernels over an example's own words are told, and the statistics they leave behind.
#pragma once

#include "best.cuh"
#include "product.cuh"

namespace dvs2s::gpu {

enum class Task : int { kLogits, kBest, kCrossEntropy, kGradient };

struct SparseArgs {
  Task task;
  Matrix hidden;         // (B·R, H)
  Matrix weight;         // (V, H)
  Floats bias;           // (V)
  const float* scales;   // (V) of int8 rows, or nullptr
  Integers ids, lengths; // (B, K), (B)
  int64_t B, R, V, K;
  // A block does the chunks of one split for one tile of rows of one example.
  int64_t chunks, splits, chunks_per_split, row_tiles;
  Stat* stats;           // (B·R, chunks)
  float* logits;         // kLogits: (B, R, K)
  int k;                 // kBest: how many
  uint64_t* best;        // kBest: (B·R, splits, k) ranks
  const int64_t* targets;  // kCrossEntropy, kGradient: (B·R) slots
  float* target_logits;  // kCrossEntropy: (B·R)
  const float* grad;     // kGradient: (B·R)
  const float* lse;      // kGradient: (B·R)
  void* d_logits;        // kGradient: (B·R, pitch) of hidden's type
  int64_t pitch;

  // Chunks of kWords words that hold something for example b. The k best need k slots, real or
  // not; the rest of the chunks are never looked at.
  template <int kWords>
  DVS2S_DEVICE int64_t live_chunks(int64_t b) const {
    int64_t slots = lengths.at(b);
    if (slots > K) slots = K;
    if (slots < k) slots = k;
    return (slots + kWords - 1) / kWords;
  }
  // The weight row of a slot; nullptr past the length and for an id that is out of range.
  template <class T>
  DVS2S_DEVICE const void* word_row(int64_t b, int64_t slot) const {
    if (slot >= lengths.at(b) || slot >= K) return nullptr;
    const int64_t id = ids.at(b * K + slot);
    return id < 0 || id >= V ? nullptr : weight.row<T>(id);
  }
};

// What a logit needs beside the product: one lane's word of a chunk.
struct WordTerms {
  int64_t slot;
  float scale, bias;
  bool is_there;

  DVS2S_DEVICE float logit(float product) const {
    return is_there ? product * scale + bias : minus_infinity();
  }
};

// An id out of range has NaN for a logit: visible, and nothing is read out of bounds.
DVS2S_DEVICE WordTerms word_terms(const SparseArgs& args, int64_t b, int64_t slot) {
  if (slot >= args.K || slot >= args.lengths.at(b)) return {slot, 0.0f, 0.0f, false};
  const int64_t id = args.ids.at(b * args.K + slot);
  if (id < 0 || id >= args.V) return {slot, 0.0f, not_a_number(), true};
  return {slot, args.scales == nullptr ? 1.0f : args.scales[id], args.bias.at(id), true};
}

}  // namespace dvs2s::gpu
