#include "pool.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dvs2s::engine {
namespace {

constexpr int kBits = 20;
constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
constexpr int kSpins = 1500;  // pauses, 20 to 60 microseconds

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

Pool::Pool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { serve(); });
}

Pool::~Pool() {
  stop_.store(true);
  section_.fetch_add(1);
  section_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::share(int64_t tasks, Call call, const void* work) {
  constexpr int64_t kMost = int64_t{1} << 19;  // room for late threads to count past the end
  call_ = call;
  work_ = work;
  for (base_ = 0; base_ < tasks; base_ += kMost) {
    const auto part = static_cast<int32_t>(std::min(kMost, tasks - base_));
    done_.store(0, std::memory_order_relaxed);
    const uint64_t number = section_.load(std::memory_order_relaxed) + 1;
    ticket_.store((number << (2 * kBits)) | (static_cast<uint64_t>(part) << kBits));
    section_.fetch_add(1);
    section_.notify_all();
    claim();
    int spins = 0;
    for (int32_t now; (now = done_.load(std::memory_order_acquire)) != part;) {
      if (++spins < kSpins) {
        pause();
      } else {
        done_.wait(now, std::memory_order_acquire);
      }
    }
  }
}

void Pool::claim() {
  for (;;) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
    const uint64_t task = ticket & kMask, tasks = (ticket >> kBits) & kMask;
    if (task >= tasks) return;
    // The section can not end before this task has: call_, work_ and base_ stay as they are.
    call_(work_, base_ + static_cast<int64_t>(task));
    const int32_t before = done_.fetch_add(1, std::memory_order_acq_rel);
    if (before + 1 == static_cast<int32_t>(tasks)) done_.notify_one();
  }
}

void Pool::serve() {
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && section_.load(std::memory_order_acquire) == seen; ++spins) {
      pause();
    }
    section_.wait(seen, std::memory_order_acquire);
    seen = section_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    claim();
  }
}

}  // namespace dvs2s::engine
