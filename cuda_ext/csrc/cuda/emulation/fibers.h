// A GPU of one core for tests: every thread of a block is a fiber on one CPU core, and blocks run
// one after another. It is strict where a GPU is lenient:
//   - between two barriers the warps of a block run in a random order and at very different speeds,
//     and so do the lanes of a warp (a missing barrier shows as a wrong or changing result);
//   - shared memory starts as NaN, and writing past its end is an error;
//   - an asynchronous copy arrives only when its thread waits for it;
//   - a warp function that not all 32 lanes reach, or a barrier that not all threads reach, is
//     an error.
// It knows nothing of caches, memory order between blocks, or time.
#pragma once

#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <ucontext.h>

namespace dvs2s::gpu {

namespace emulation {

constexpr int kLanes = 32;
constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kRedZone = 512;

struct Copy {
  void* to;
  const void* from;
  int bytes;
};

enum class State { kReady, kAtWarp, kAtBlock, kDone };

struct Fiber {
  ucontext_t start;
  jmp_buf here;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state = State::kReady;
  bool started = false;
  int exchanges = 0;  // warp exchanges so far: their parity picks the buffer
  std::vector<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

struct alignas(16) Parcel {
  uint32_t words[8];
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Parcel> mail;  // 2 buffers x threads
  std::vector<char> shared;
  char* shared_start = nullptr;
  std::function<void()> body;
  jmp_buf scheduler;
  int current = 0, threads = 0;
  int64_t block = 0, blocks = 0;
  size_t shared_bytes = 0;
  uint64_t random = 88172645463325252ull;
};

inline Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

[[noreturn]] inline void fail(const char* what) {
  // Fibers cannot throw through a longjmp, and a broken kernel has no result to go on with.
  std::fprintf(stderr, "emulated GPU: %s (block %lld, thread %d)\n", what,
               static_cast<long long>(machine().block), machine().current);
  std::abort();
}

inline uint64_t next_random() {
  uint64_t& x = machine().random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x;
}

inline Fiber& self() { return *machine().fibers[static_cast<size_t>(machine().current)]; }

inline void wait_at(State state) {
  Fiber& fiber = self();
  fiber.state = state;
  if (_setjmp(fiber.here) == 0) _longjmp(machine().scheduler, 1);
}

inline void run_fiber() {
  machine().body();
  if (!self().groups.empty() || !self().open.empty()) {
    for (const auto& group : self().groups) {
      if (!group.empty()) fail("a thread ended with asynchronous copies under way");
    }
  }
  self().state = State::kDone;
  _longjmp(machine().scheduler, 1);
}

// Runs fiber `index` until it waits or ends.
inline void resume(int index) {
  Machine& m = machine();
  m.current = index;
  Fiber& fiber = self();
  if (_setjmp(m.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, run_fiber, 0);
  setcontext(&fiber.start);
}

// Lets go of every warp whose lanes all wait for one another, then of the block. Returns whether
// anything can run.
inline bool release() {
  Machine& m = machine();
  bool any = false, whole_block = true, any_live = false;  // any: something can run
  for (int w = 0; w < m.threads; w += kLanes) {
    int at_warp = 0;
    for (int i = w; i < w + kLanes; ++i) {
      const State state = m.fibers[static_cast<size_t>(i)]->state;
      at_warp += state == State::kAtWarp;
      any |= state == State::kReady;
      whole_block &= state == State::kAtBlock || state == State::kDone;
      any_live |= state != State::kDone;
    }
    if (at_warp != kLanes) continue;
    for (int i = w; i < w + kLanes; ++i) m.fibers[static_cast<size_t>(i)]->state = State::kReady;
    any = true;
  }
  if (!whole_block) {
    if (!any) fail("some threads wait at a barrier that others never reach");
    return true;
  }
  for (int i = 0; i < m.threads; ++i) {
    Fiber& fiber = *m.fibers[static_cast<size_t>(i)];
    if (fiber.state == State::kAtBlock) fiber.state = State::kReady;
  }
  return any_live;
}

inline void start_block() {
  Machine& m = machine();
  std::memset(m.shared_start, 0xff, m.shared_bytes + kRedZone);
  for (auto& fiber : m.fibers) {
    fiber->state = State::kReady;
    fiber->started = false;
    fiber->exchanges = 0;
    fiber->groups.clear();
    fiber->open.clear();
  }
}

// Runs those of a warp's lanes that can run, in a random order.
inline void run_warp(int warp) {
  Machine& m = machine();
  const auto turn = static_cast<int>(next_random() % kLanes);
  const int stride = static_cast<int>(next_random() % 16) * 2 + 1;  // odd: meets every lane
  for (int i = 0; i < kLanes; ++i) {
    const int thread = warp * kLanes + (turn + i * stride) % kLanes;
    if (m.fibers[static_cast<size_t>(thread)]->state == State::kReady) resume(thread);
  }
}

inline void run_block() {
  Machine& m = machine();
  start_block();
  const int warps = m.threads / kLanes;
  uint64_t slow = 0;
  do {
    // one warp at a time lags far behind the others, which do not keep step either
    if (next_random() % 16 == 0) slow = next_random() % static_cast<uint64_t>(warps);
    const auto first = static_cast<int>(next_random() % static_cast<uint64_t>(warps));
    for (int i = 0; i < warps; ++i) {
      const int warp = (first + i) % warps;
      const uint64_t rest = static_cast<uint64_t>(warp) == slow ? 7 : 2;  // rounds of 8 missed
      if (next_random() % 8 >= rest) run_warp(warp);
    }
  } while (release());
  for (size_t i = 0; i < kRedZone; ++i) {
    if (static_cast<unsigned char>(m.shared_start[m.shared_bytes + i]) != 0xff) {
      fail("shared memory was written past its end");
    }
  }
}

inline void run_grid(int64_t blocks, int threads, size_t shared_bytes, std::function<void()> body) {
  Machine& m = machine();
  if (threads % kLanes != 0) fail("a block must be whole warps");
  m.threads = threads;
  m.blocks = blocks;
  m.shared_bytes = shared_bytes;
  m.body = std::move(body);
  m.fibers.clear();
  for (int i = 0; i < threads; ++i) m.fibers.push_back(std::make_unique<Fiber>());
  m.mail.assign(static_cast<size_t>(2 * threads), Parcel{});
  m.shared.assign(shared_bytes + kRedZone + 128, 0);
  const auto address = reinterpret_cast<uintptr_t>(m.shared.data());
  m.shared_start = m.shared.data() + (128 - address % 128) % 128;
  for (m.block = 0; m.block < blocks; ++m.block) run_block();
}

// Leaves `mine` for the other lanes and returns everybody's, by lane.
template <class T>
inline const Parcel* exchange(const T& mine) {
  static_assert(sizeof(T) <= sizeof(Parcel));
  Machine& m = machine();
  const int buffer = self().exchanges++ % 2;
  Parcel* mail = m.mail.data() + static_cast<ptrdiff_t>(buffer) * m.threads;
  std::memcpy(&mail[m.current], &mine, sizeof(T));
  wait_at(State::kAtWarp);
  return mail + m.current / kLanes * kLanes;
}

template <class T>
inline T take(const Parcel& parcel) {
  T value;
  std::memcpy(&value, &parcel, sizeof(T));
  return value;
}

inline void arrive(const std::vector<Copy>& group) {
  for (const Copy& copy : group) {
    if (reinterpret_cast<uintptr_t>(copy.to) % 16 != 0 ||
        reinterpret_cast<uintptr_t>(copy.from) % 16 != 0) {
      fail("an asynchronous copy of 16 bytes is not aligned");
    }
    if (copy.bytes == 16) std::memcpy(copy.to, copy.from, 16);
    else std::memset(copy.to, 0, 16);
  }
}

}  // namespace emulation

}  // namespace dvs2s::gpu
