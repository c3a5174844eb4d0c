// Which words could be among the likeliest, from int8 copies of the word predictor's rows.
//
// By Cauchy and Schwarz |w x - w' x'| <= |w - w'| |x| + |w'| |x - x'|: a word whose upper bound is
// below enough lower bounds can not come in. Only the others are scored in float32, so T is what
// float32 makes it while a quarter of the bytes is read.
#pragma once

#include <vector>

#include "matrix.h"
#include "pool.h"
#include "request.h"

namespace dvs2s::engine {

class Screen {
 public:
  // rows float32, kept by the caller.
  void take(const RowStore& rows);

  // One message's approximate scores, with biases, and their error bounds.
  struct Bounds {
    std::vector<float> score, error;
  };
  void bound(Pool& pool, const float* x, Bounds& out) const;

 private:
  RowStore rows_;
  std::vector<float> row_error_, row_norm_;
};

// Scores of some float32 rows, written to their places: out[c] = <rows[c], x> + bias[c].
void score_rows(
    Pool& pool, const RowStore& rows, const std::vector<int32_t>& which, const float* x, float* out);

}  // namespace dvs2s::engine
