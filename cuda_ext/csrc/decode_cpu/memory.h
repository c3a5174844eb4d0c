// Memory that grows and stays: a decode step allocates nothing once its sizes have been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace dvs2s::engine {

// Bytes at a cache line's border. Large blocks, the weights, ask for huge pages: read from end to
// end at every step, they would miss the address cache once a small page.
inline void* aligned_block(size_t bytes) {
  constexpr size_t kLine = 64, kHuge = size_t{2} << 20;
  const size_t border = bytes >= 2 * kHuge ? kHuge : kLine;
  const size_t whole = (bytes + border - 1) / border * border;
  void* block = std::aligned_alloc(border, whole == 0 ? border : whole);
  if (block == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (border == kHuge) madvise(block, whole, MADV_HUGEPAGE);  // a wish: refusal does no harm
#endif
  return block;
}

// Uninitialised elements at a cache line's border. Growing forgets what was there.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(int64_t size) { reserve(size); }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { free(); }

  // Room for size elements; their values are unknown afterwards.
  T* reserve(int64_t size) {
    if (size > size_) {
      free();
      data_ = static_cast<T*>(aligned_block(static_cast<size_t>(size) * sizeof(T)));
      size_ = size;
    }
    return data_;
  }
  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }

 private:
  void free() {
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace dvs2s::engine
