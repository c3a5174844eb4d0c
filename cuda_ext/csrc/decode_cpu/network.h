// The model's weights, packed once.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "matrix.h"
#include "pool.h"
#include "sketch.h"

namespace dvs2s::engine {

struct NetworkSizes {
  int64_t V, num_fixed, E, H, bag, D;
  int64_t inputs_kept, gates_kept;  // of so many of the first words: encoder, decoder; 0..V
};

// Float32 arrays of the model, in PyTorch's own layouts; they have to outlive the network.
struct Source {
  const float *embedding;                        // (V, E)
  const float *input[2], *recurrent[2];          // (3H, E), (3H, H): forward, backward
  const float *input_bias[2], *recurrent_bias[2];
  const float *query;                            // (H, H)
  const float *key, *key_bias, *energy;          // (H, 2H + E), (H), (H)
  const float *start, *start_bias;               // (H, 2H + E), (H)
  const float *word_gates, *word_bias;           // (3H, E), (3H)
  const float *context_gates;                    // (3H, 2H + E)
  const float *state_gates, *state_bias;         // (3H, H), (3H)
  const float *output, *output_bias;             // (V, H), (V)
  const float *bags;                             // (V, 2 bag)
  const float *hidden, *hidden_bias;             // (D, 2 bag), (D)
  const float *content, *content_bias;           // (V - num_fixed, D), (V - num_fixed)
  const float *repetition;                       // (V - num_fixed)
  const float *directions = nullptr;             // orthonormal (kSketchWidth, D), or none
};

class Network {
 public:
  Network(const NetworkSizes& sizes, const Source& source, Precision precision, int threads);

  const NetworkSizes sizes;
  const Source source;
  const Precision precision;
  Pool pool;
  std::mutex in_use;  // one call of C++ at a time

  Matrix input;         // 6H x E: both directions
  Matrix recurrent[2];  // 3H x H
  Matrix memory;        // 4H x (2H + E): attention keys, context gates
  Matrix start;         // H x (2H + E)
  Matrix cell;          // 4H x H: state gates, attention query
  Matrix word;          // 3H x E
  Matrix hidden;        // D x 2 bag
  Matrix head;          // output rows of the first words, which every vocabulary holds, in whole chunks
  RowStore output;
  RowStore content;  // word predictor: float32, or int8 where that is the precision
  Sketch sketch;     // of content; empty without directions

  int64_t source_width() const { return 2 * sizes.H + sizes.E; }
  // What a word adds to the encoder's gates, (input.ld()), and to the decoder's, (word.ld()), exact
  // in every precision; nullptr where it is not kept.
  const float* inputs_of(int64_t id) const {
    return id < sizes.inputs_kept ? inputs_.get() + id * input.ld() : nullptr;
  }
  const float* gates_of(int64_t id) const {
    return id < sizes.gates_kept ? gates_.get() + id * word.ld() : nullptr;
  }
  // The whole vocabulary's rows, packed when they are first asked for.
  const Matrix& full();

 private:
  void keep(const std::vector<Matrix::Part>& parts, int64_t words, Buffer<float>* out);

  Matrix full_;
  Buffer<float> inputs_, gates_;
};

}  // namespace dvs2s::engine
