// What the decode engine needs of an instruction set: one table of functions for each.
#pragma once

#include <cstdint>

namespace dvs2s::engine {

// Element type of weights and of what they are multiplied with; sums are float32 (int8: int32).
enum Precision : int { kFloat32 = 0, kBfloat16 = 1, kInt8 = 2 };
constexpr int kPrecisions = 3;

// Weights are packed into blocks of 16 rows: block, then unit (4 bytes along a row: 1 float32,
// 2 bfloat16 or 4 int8), then row. So one shape of microkernel serves every precision.
constexpr int64_t kBlockRows = 16;
constexpr int64_t kUnitBytes = 4;

// out[c * ld + r] = <row r of w, column c of x> + bias[r], for 16 * blocks rows and n columns.
// A sum runs over the units in their order, whatever n and blocks are: the result depends neither
// on who shares the call nor on how it is split.
struct Gemm {
  const char* w;         // (blocks, units, 16, 4 bytes)
  int64_t blocks, units;
  const char* x;         // (units, n, 4 bytes); int8 as q + 128
  int n;                 // at most max_columns
  const float* bias;     // (16 * blocks)
  const float* w_scale;  // int8: (16 * blocks)
  const int32_t* w_sum;  // int8: (16 * blocks), 128 times the sum of a row
  const float* x_scale;  // int8: (n)
  float* out;
  int64_t ld;
};

// A sketch's directions. A block of sketches is packed as weights are, (units, 16, 4 bytes): a byte
// is a number as q + 128, or, where it is coarse, two: number 4 u + b of unit u in its lower four
// bits and kSketchWidth / 2 more in its upper, as q + 8.
constexpr int64_t kSketchWidth = 64;
constexpr int64_t sketch_units(bool coarse) { return kSketchWidth / (coarse ? 2 : 1) / kUnitBytes; }

// How far off a sketch's score may be: what is left out and what rounding takes, each so much times
// the rest and the scale of its row, independent of one another.
struct Spread {
  float rest = 0, scale = 0;

  // The root of the sum of squares, or up to a twelfth more, without a root. In this order of
  // operations everywhere: bounds that two places make are the same.
  float error(float row_rest, float row_scale) const {
    const float left_out = rest * row_rest, rounded = scale * row_scale;
    const float more = left_out > rounded ? left_out : rounded;
    const float less = left_out > rounded ? rounded : left_out;
    return more + kLesserShare * less;
  }
  static constexpr float kLesserShare = 0.41421357f;  // of two equal ones the root of two remains
};

struct SketchCall {
  const uint8_t* rows;
  int64_t blocks;
  bool coarse;
  const int8_t* x;  // (kSketchWidth)
  float x_scale;
  int32_t offset;                    // the sum of x times 128, or 8
  const float *scale, *bias, *rest;  // (16 * blocks)
  Spread spread;
  float* high;                  // (16 * blocks): scores and their errors, -inf where no number
  float *top_low, *top_high;    // (blocks): the greatest of high less twice the error, and of high
};

struct StepKernels {
  const char* isa;
  int max_columns;  // columns that one call takes
  void (*gemm[kPrecisions])(const Gemm&);

  // Next state of a GRU, H wide: reset, update and new gates from inputs + more (3H each, in this
  // order; more may be nullptr) and from states (3H).
  void (*gates)(
      const float* inputs, const float* more, const float* states, const float* h, int64_t H,
      float* out);
  // out = exp(2 x); returns the largest |x|.
  float (*exp_twice)(const float* x, int64_t n, float* out);
  // Sum of v tanh(q + k), less a constant, from exp(2 q) and exp(2 k).
  float (*energy)(const float* exp_q, const float* exp_k, const float* v, int64_t n);
  // The same from q and k themselves, for values beyond the range of their exponentials.
  float (*energy_of_sums)(const float* q, const float* k, const float* v, int64_t n);
  // out = sum over s of weights[s] * rows[s * ld ...], n long.
  void (*mix)(const float* rows, int64_t ld, const float* weights, int64_t S, int64_t n, float* out);
  void (*tanh)(float* x, int64_t n);
  // Writes n values as a row of units (padding as zeros) in a precision; returns the scale (int8).
  float (*to_row[kPrecisions])(const float* x, int64_t n, int64_t units, char* out);
  // Sum of products of two float rows.
  float (*dot)(const float* a, const float* b, int64_t n);
  // What sketches say of 16 * blocks scores.
  void (*sketch)(const SketchCall& call);
};

const StepKernels& step_kernels();

extern const StepKernels kStepAvx512;
extern const StepKernels kStepAvx2;
extern const StepKernels kStepPortable;

}  // namespace dvs2s::engine
