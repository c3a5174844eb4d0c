// Word prediction and selection: which words a reply is made of, and their rows.
#pragma once

#include <vector>

#include "narrow.h"
#include "network.h"
#include "request.h"

namespace dvs2s::engine {

class Chooser {
 public:
  explicit Chooser(Network& network) : net_(network) {}

  // Scores the words that requests choose from, where the choice needs it.
  void predict(const std::vector<Request*>& requests, const Selection& selection);
  // Fills ids, log_odds, layout, head, full and rows.
  void choose(const std::vector<Request*>& requests, const Selection& selection);

 private:
  void bag(const Request& request, float* out) const;
  void guess(const std::vector<Request*>& requests);
  int64_t guess_bytes() const;
  void convert_guesses(int64_t count);
  void list_likely(const std::vector<Request*>& requests, const Selection& selection);
  void score_listed();
  void score_all();
  void score_rows(
      const Scored& scored, int64_t first, int64_t last, int64_t x_first, int64_t x_count,
      float* out, int64_t ld) const;
  void repeat();
  void pick(Request& request, const Selection& selection, size_t index);
  void gather(const std::vector<Request*>& requests);

  Network& net_;
  bool has_odds_ = false;
  Columns bags_;
  Buffer<float> bag_, guess_, odds_;
  Buffer<char> rows_;  // guesses in the precision of the content rows
  Buffer<float> scales_;
  Sketch::Bounds bounds_;
  Narrower narrower_;
  std::vector<Demand> demands_;  // a request each
  std::vector<Scored> scored_;
};

}  // namespace dvs2s::engine
