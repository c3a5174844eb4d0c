// Weights packed for the microkernels, and the columns that they are multiplied with.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"
#include "step_kernels.h"

namespace dvs2s::engine {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t units_of(int64_t columns, Precision p) {
  const int64_t elements = p == kFloat32 ? 1 : p == kBfloat16 ? 2 : 4;
  return (columns + elements - 1) / elements;
}

// Rows in their own order, for gathering some of them. float32 rows stay where they are.
struct RowStore {
  Precision precision = kFloat32;
  int64_t rows = 0, columns = 0, units = 0;
  const char* data = nullptr;  // (rows, units, 4 bytes)
  const float* bias = nullptr;
  Buffer<char> own;
  Buffer<float> scale;   // int8
  Buffer<int32_t> sum;   // int8: 128 times the sum of a row

  // Takes float32 weights (rows, columns); they and the bias have to outlive the store.
  void take(Precision p, const float* weights, const float* bias_in, int64_t n, int64_t width);
  const char* row(int64_t i) const { return data + i * units * kUnitBytes; }
};

// Packed rows with their biases; rows of padding give -inf or 0, as asked.
struct Matrix {
  Precision precision = kFloat32;
  int64_t rows = 0, units = 0, blocks = 0;
  Buffer<char> data;
  Buffer<float> bias, scale;
  Buffer<int32_t> sum;

  int64_t ld() const { return blocks * kBlockRows; }
  int64_t bytes() const { return data.bytes() + bias.bytes() + scale.bytes() + sum.bytes(); }

  // Room for n rows of a store; fill(…) then packs block by block, on any thread.
  void shape(const RowStore& store, int64_t n);
  // Packs rows ids[16 * block ...] of the store; ids nullptr: the store's own order.
  void fill(const RowStore& store, const int64_t* ids, int64_t block, float padding);
  // Packs all of several float32 parts, one below the other.
  struct Part {
    const float* weights;
    const float* bias;  // nullptr: none
    int64_t rows;
  };
  void pack(Precision p, const std::vector<Part>& parts, int64_t columns);
};

// Vectors made ready to be multiplied, in groups that one call of a microkernel takes.
class Columns {
 public:
  struct Group {
    int64_t first;
    int n, region;
  };

  void shape(Precision p, int64_t count, int64_t width);
  // Adds groups for the columns first..first + n - 1; a group never holds columns of two calls.
  // There are two regions, for columns that are grouped in two ways.
  void group(int64_t first, int64_t n, int region = 0);
  void clear_groups() { groups_.clear(); }

  void set(int64_t column, const float* x);        // converts one vector
  void interleave(const Group& g);                 // after its columns have been set
  const std::vector<Group>& groups() const { return groups_; }
  // Rows of blocks [first, last) of w times the group's columns: out[column * ld + row - first row],
  // column 0 being the group's first.
  void multiply(
      const Matrix& w, int64_t first, int64_t last, const Group& g, float* out, int64_t ld) const;

 private:
  Precision precision_ = kFloat32;
  int64_t count_ = 0, width_ = 0, units_ = 0;
  Buffer<char> rows_, packed_;
  Buffer<float> scale_;
  std::vector<Group> groups_;
};

}  // namespace dvs2s::engine
