// Which words could be among the likeliest, from sketches of the word predictor's rows: what each
// is along the few directions in which the rows differ most, in four or eight bits a direction.
//
// With orthonormal directions, <w, x> = <sketch of w, sketch of x> + <rest of w, rest of x>. The
// rests are short and, D - width numbers long, nearly at right angles: their product is about
// |rest of w| |rest of x| / sqrt(D - width) in size. So are rounding errors and what they are
// multiplied with. A word whose score, that many deviations higher, is below enough scores, as many
// lower, is left out; the others are scored by their whole rows.
#pragma once

#include <vector>

#include "memory.h"
#include "pool.h"
#include "step_kernels.h"

namespace dvs2s::engine {

class Sketch {
 public:
  // rows: float32 (n, D), bias (n); directions: orthonormal (kSketchWidth, D). Coarse: four bits,
  // half of what is read, for rows whose own reading costs little more.
  void take(
      Pool& pool, const float* rows, const float* bias, int64_t n, int64_t D,
      const float* directions, bool coarse);
  bool empty() const { return words_ == 0; }

  // Scores of some messages' words less and plus so many deviations: the upper ones, and the
  // greatest of both of each block of kBlockRows words. Numbers that are none count as -inf.
  struct Bounds {
    int64_t words = 0, blocks = 0;
    Buffer<float> high, top_low, top_high;  // (messages, blocks * 16), (messages, blocks)
    std::vector<Spread> spreads;            // (messages)
    const float *rest = nullptr, *scale = nullptr;  // (blocks * 16)
  };
  // x: float32 (count, ld). A message's bounds do not depend on the others.
  void bound(
      Pool& pool, const float* x, int64_t ld, int64_t count, float deviations, Bounds& out);

 private:
  // A message's side.
  struct Query {
    int8_t x[kSketchWidth];
    float scale;
    int32_t offset;  // what the middle, taken for 0 in every number of a row, adds to its product
    float rest, rounding;  // deviations per unit of a row's rest and scale
  };

  float take_row(const float* row, const float* bias, int64_t place, float* lost);
  Query project(const float* x) const;

  int middle() const { return coarse_ ? 8 : 128; }
  int64_t row_bytes() const { return sketch_units(coarse_) * kUnitBytes; }

  bool coarse_ = false;
  int64_t D_ = 0, words_ = 0, blocks_ = 0;
  std::vector<float> directions_;
  Buffer<uint8_t> rows_;               // (blocks, units, 16, 4 bytes)
  Buffer<float> rest_, scale_, bias_;  // (blocks * 16)
  float longest_ = 0, lost_ = 0;       // a sketch, and what rounding takes, in its row's scale
  std::vector<Query> queries_;
};

}  // namespace dvs2s::engine
