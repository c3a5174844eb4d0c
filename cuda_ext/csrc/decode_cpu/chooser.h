// Word prediction and selection: which words a reply is made of, and their rows.
#pragma once

#include <vector>

#include "network.h"
#include "request.h"
#include "screen.h"

namespace dvs2s::engine {

class Chooser {
 public:
  explicit Chooser(Network& network) : net_(network) {}

  // What the logits of beta are made of, for requests whose choice needs them.
  void predict(const std::vector<Request*>& requests, const Selection& selection);
  // Fills ids, log_odds, layout, head, full and rows.
  void choose(const std::vector<Request*>& requests, const Selection& selection);

 private:
  void bag(const Request& request, float* out) const;
  void guess(const std::vector<Request*>& requests);
  void score_all(const std::vector<Request*>& requests);
  void score_block(int64_t first, int64_t last, int64_t count);
  void score_likely(const Request& request, const Selection& selection, int64_t index);
  void repeat(const Request& request, float* odds) const;
  void take(const Request& request, const Selection& selection);
  void take_best(const Selection& selection, const float* odds);
  void pick(Request& request, const Selection& selection, const float* odds);
  void gather(const std::vector<Request*>& requests);

  Network& net_;
  bool has_odds_ = false, screens_ = false;
  Columns bags_;
  Buffer<float> bag_, guess_, odds_;
  Buffer<char> rows_;
  Buffer<float> scales_;
  Screen::Bounds bounds_;
  std::vector<uint8_t> taken_;
  std::vector<float> rank_, ordered_;
  std::vector<int32_t> likely_;
};

}  // namespace dvs2s::engine
