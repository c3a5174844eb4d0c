// Word prediction and selection: which words a reply is made of, and their rows.
#pragma once

#include <vector>

#include "network.h"
#include "request.h"

namespace dvs2s::engine {

class Chooser {
 public:
  explicit Chooser(Network& network) : net_(network) {}

  // The logits of beta for requests whose choice needs them.
  void predict(const std::vector<Request*>& requests, const Selection& selection);
  // Fills ids, log_odds, layout, head, full and rows.
  void choose(const std::vector<Request*>& requests, const Selection& selection);

 private:
  void bag(const Request& request, float* out) const;
  void score_content(int64_t first, int64_t last, int64_t count);
  void pick(Request& request, const Selection& selection, const float* odds);
  void gather(const std::vector<Request*>& requests);

  Network& net_;
  bool has_odds_ = false;
  Columns bags_, guesses_;
  Buffer<float> bag_, guess_, odds_;
  Buffer<char> rows_;
  Buffer<float> scales_;
  std::vector<uint8_t> taken_;
  std::vector<float> rank_;
  std::vector<int32_t> order_;
};

}  // namespace dvs2s::engine
