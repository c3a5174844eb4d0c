// Which words could be among the likeliest, from sketches of the word predictor's rows: what each
// is along the few directions in which the rows differ most, in int8.
//
// With orthonormal directions, <w, x> = <sketch of w, sketch of x> + <rest of w, rest of x>. The
// rests are short and, D - width numbers long, nearly at right angles: their product is about
// |rest of w| |rest of x| / sqrt(D - width) in size. A word whose score, that many deviations higher,
// is below enough scores, as many lower, is left out; the others are scored by their whole rows.
#pragma once

#include <vector>

#include "matrix.h"
#include "pool.h"

namespace dvs2s::engine {

class Sketch {
 public:
  static constexpr int64_t kMostWidth = 64;

  // rows: float32 (n, D), bias (n); directions: orthonormal (width, D).
  void take(
      Pool& pool, const float* rows, const float* bias, int64_t n, int64_t D,
      const float* directions, int64_t width);
  bool empty() const { return rows_.rows == 0; }

  // Scores of some messages' words less and plus so many deviations, and the greatest of each
  // block of kBlockRows words. Numbers that are none count as -inf.
  struct Bounds {
    int64_t words = 0, blocks = 0;
    Buffer<float> low, high, top_low, top_high;  // (messages, blocks * 16), (messages, blocks)
  };
  // x: float32 (count, ld). A message's bounds do not depend on the others.
  void bound(
      Pool& pool, const float* x, int64_t ld, int64_t count, float deviations, Bounds& out);

 private:
  void project(const float* x, int64_t index);
  void bound_words(int64_t task, const Columns::Group& group, float deviations, Bounds& out) const;

  int64_t D_ = 0, width_ = 0;
  Matrix rows_;
  std::vector<float> directions_;
  Buffer<float> rest_, length_;  // (blocks * 16): of a row's rest, and of its sketch
  float rounding_ = 0;           // of sketches in int8, at most, relative to their lengths
  Columns x_;
  std::vector<float> x_rest_, x_noise_;  // (count): what rest_ and length_ are multiplied with
};

}  // namespace dvs2s::engine
