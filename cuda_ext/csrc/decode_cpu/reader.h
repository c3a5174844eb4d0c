// Encoder: messages to what the decoder attends to, and to its first state.
#pragma once

#include <vector>

#include "network.h"
#include "request.h"

namespace dvs2s::engine {

class Reader {
 public:
  explicit Reader(Network& network)
      : net_(network), zeros_(static_cast<size_t>(network.sizes.H), 0.0f) {}

  // Fills memory, exp_keys, key_range and states[0] of requests that have a message.
  void read(const std::vector<Request*>& requests);

 private:
  void embed();
  void recur();
  void recur_in(int from, int to);
  void step_state(int64_t d, int64_t row, int64_t t);
  void remember();
  void begin();

  Network& net_;
  std::vector<float> zeros_;  // (H), the state before the first word
  std::vector<Request*> requests_;  // longest message first
  std::vector<int64_t> offsets_;    // of a request's first word among all words
  int64_t words_ = 0;
  struct Made {
    int64_t place;
    const float* embedding;
  };
  std::vector<Made> made_;               // words whose inputs are not kept
  std::vector<const float*> inputs_of_;  // of each place: gates of both directions, (6H)
  Columns embedded_, states_[2], sources_, starts_;
  Buffer<float> inputs_, recurrent_[2], source_, start_in_, start_out_;
};

}  // namespace dvs2s::engine
