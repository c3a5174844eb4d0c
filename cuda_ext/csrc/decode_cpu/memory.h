// Memory that grows and stays: a decode step allocates nothing once its sizes have been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace dvs2s::engine {

// Uninitialised elements at a cache line's border. Growing forgets what was there.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr std::align_val_t kLine{64};

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
      data_ = static_cast<T*>(::operator new(static_cast<size_t>(size) * sizeof(T), kLine));
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
    if (data_ != nullptr) ::operator delete(data_, kLine);
    data_ = nullptr;
    size_ = 0;
  }

  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace dvs2s::engine
