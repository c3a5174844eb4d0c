// Tiles of rows in shared memory, and how rows of any width, alignment and type get there.
//
// A tile of shared memory has rows of 128 bytes (64 elements of 16 bits, 32 of float32), in units
// of 16 bytes; unit u of row r stands at place u ^ (r % 8), so that neither the copies in nor
// ldmatrix meet bank conflicts.
#pragma once

#include "numbers.cuh"

namespace dvs2s::gpu {

constexpr int kRowBytes = 128;

template <class T>
constexpr int kUnit = 16 / static_cast<int>(sizeof(T));  // elements of 16 bytes

template <class T>
constexpr int kDepth = kRowBytes / static_cast<int>(sizeof(T));  // elements of a tile's row

// How the rows of an operand lie in memory; the slower ways serve any width and alignment.
enum class Reading : int {
  kUnits,        // T, every row aligned to 16 bytes: asynchronous copies
  kElements,     // T, element by element
  kInt8Units,    // int8, rows aligned to a unit's elements
  kInt8Elements  // int8, element by element
};

struct alignas(16) Unit {
  uint32_t words[4];
};

DVS2S_DEVICE int place(int row, int byte) {
  return row * kRowBytes + (((byte >> 4) ^ (row & 7)) << 4) + (byte & 15);
}

template <class T, class Source>
DVS2S_DEVICE Unit convert_unit(const Source* from, int64_t count) {
  union {
    Unit unit;
    T values[kUnit<T>];
  };
  unit = Unit{};
#pragma unroll
  for (int i = 0; i < kUnit<T>; ++i) {
    if (i < count) values[i] = from_float<T>(to_float(from[i]));
  }
  return unit;
}

// int8 values that are aligned as a whole unit of T.
template <class T>
DVS2S_DEVICE Unit convert_int8_unit(const int8_t* from) {
  struct alignas(kUnit<T>) Packed {
    int8_t values[kUnit<T>];
  };
  const Packed packed = *reinterpret_cast<const Packed*>(from);
  return convert_unit<T>(packed.values, kUnit<T>);
}

// Elements k .. of a row (nullptr: none) as a unit of T; zeros past the width.
template <class T, Reading kReading>
DVS2S_DEVICE Unit read_unit(const void* row, int64_t k, int64_t width) {
  if (row == nullptr || k >= width) return Unit{};
  if constexpr (kReading == Reading::kUnits) {
    return *reinterpret_cast<const Unit*>(static_cast<const T*>(row) + k);
  } else if constexpr (kReading == Reading::kElements) {
    return convert_unit<T>(static_cast<const T*>(row) + k, width - k);
  } else if constexpr (kReading == Reading::kInt8Units) {
    return convert_int8_unit<T>(static_cast<const int8_t*>(row) + k);
  } else {
    return convert_unit<T>(static_cast<const int8_t*>(row) + k, width - k);
  }
}

// The rows of a tile that a thread carries into shared memory: kRows / (kThreads / 8) of them.
template <int kRows, int kThreads>
struct Rows {
  static constexpr int kCount = kRows * 8 / kThreads;
  const void* rows[kCount];

  DVS2S_DEVICE static int index(int i) { return thread_index() / 8 + i * (kThreads / 8); }

  // `row_at(i)` is row i of the tile, or nullptr for none.
  template <class RowAt>
  DVS2S_DEVICE void find(const RowAt& row_at) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) rows[i] = row_at(index(i));
  }

  // Carries depth k0 .. k0 + kDepth in. `anywhere` is an address that may be named, not read.
  template <class T>
  DVS2S_DEVICE void load(
      char* tile, int64_t k0, int64_t width, Reading reading, const void* anywhere) const {
    const int64_t k = k0 + thread_index() % 8 * kUnit<T>;
    switch (reading) {
      case Reading::kUnits: return copy<T>(tile, k, width, anywhere);
      case Reading::kElements: return carry<T, Reading::kElements>(tile, k, width);
      case Reading::kInt8Units: return carry<T, Reading::kInt8Units>(tile, k, width);
      case Reading::kInt8Elements: return carry<T, Reading::kInt8Elements>(tile, k, width);
    }
  }

 private:
  DVS2S_DEVICE static char* home(char* tile, int i) {
    return tile + place(index(i), thread_index() % 8 * 16);
  }

  template <class T>
  DVS2S_DEVICE void copy(char* tile, int64_t k, int64_t width, const void* anywhere) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool there = rows[i] != nullptr && k < width;
      copy_async16(
          home(tile, i), there ? static_cast<const T*>(rows[i]) + k : anywhere, there ? 16 : 0);
    }
  }

  // Through registers: all reads first, so that they wait together.
  template <class T, Reading kReading>
  DVS2S_DEVICE void carry(char* tile, int64_t k, int64_t width) const {
    Unit units[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) units[i] = read_unit<T, kReading>(rows[i], k, width);
#pragma unroll
    for (int i = 0; i < kCount; ++i) *reinterpret_cast<Unit*>(home(tile, i)) = units[i];
  }
};

// An operand whose rows are read along the depth.
struct Matrix {
  const void* data;
  Reading reading;
  int64_t width;  // elements of a row: the depth

  template <class T>
  DVS2S_DEVICE const void* row(int64_t i) const {
    if (reading == Reading::kInt8Units || reading == Reading::kInt8Elements) {
      return static_cast<const int8_t*>(data) + i * width;
    }
    return static_cast<const T*>(data) + i * width;
  }
};

}  // namespace dvs2s::gpu
