#include "pool.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dvs2s::engine {
namespace {

constexpr int kSpins = 1500;  // pauses, 20 to 60 microseconds

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

Pool::Pool(int threads) : shares_(new Share[static_cast<size_t>(std::max(threads, 1))]) {
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { serve(static_cast<size_t>(i)); });
  }
}

Pool::~Pool() {
  stop_.store(true);
  section_.fetch_add(1);
  section_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::share(uint32_t tasks, Call call, const void* work) {
  call_ = call;
  work_ = work;
  open_.store(tasks, std::memory_order_relaxed);
  const uint64_t threads = workers_.size() + 1;
  for (uint64_t i = 0; i < threads; ++i) {
    const uint64_t first = i * tasks / threads, last = (i + 1) * tasks / threads;
    shares_[i].left.store((last << 32) | first, std::memory_order_release);
  }
  section_.fetch_add(1);
  section_.notify_all();
  claim(0);
  int spins = 0;
  for (uint32_t now; (now = open_.load(std::memory_order_acquire)) != 0;) {
    if (++spins < kSpins) {
      pause();
    } else {
      open_.wait(now, std::memory_order_acquire);
    }
  }
}

bool Pool::take(Share& share, bool first, uint32_t* task) {
  uint64_t left = share.left.load(std::memory_order_acquire);
  for (;;) {
    const auto begin = static_cast<uint32_t>(left), end = static_cast<uint32_t>(left >> 32);
    if (begin >= end) return false;
    const uint64_t rest = first ? left + 1 : left - (uint64_t{1} << 32);
    if (share.left.compare_exchange_weak(left, rest, std::memory_order_acq_rel)) {
      *task = first ? begin : end - 1;
      return true;
    }
  }
}

void Pool::claim(size_t self) {
  const size_t threads = workers_.size() + 1;
  for (size_t i = 0; i < threads; ++i) {
    Share& share = shares_[(self + i) % threads];
    uint32_t task = 0;
    while (take(share, i == 0, &task)) {
      // The section can not end before this task has: call_ and work_ stay as they are.
      call_(work_, task);
      if (open_.fetch_sub(1, std::memory_order_acq_rel) == 1) open_.notify_one();
    }
  }
}

void Pool::serve(size_t self) {
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && section_.load(std::memory_order_acquire) == seen; ++spins) {
      pause();
    }
    section_.wait(seen, std::memory_order_acquire);
    seen = section_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    claim(self);
  }
}

}  // namespace dvs2s::engine
