// Threads that share out the tasks of one section after another.
//
// Every thread, the caller too, has a share of neighbouring tasks, the same one in every section of
// as many tasks: its cache keeps their weights. Whoever is through with his own takes from the
// others' far ends, so a thread that the system has put to sleep holds nothing up but the task that
// it had begun. Waiting threads spin for some microseconds, the time between two sections, and then
// sleep: a busy neighbour gets its core.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace dvs2s::engine {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(task) for each task in 0..tasks-1, in any order, on any thread; returns when all are
  // done. One caller at a time; work throws nothing; fewer than 2^31 tasks.
  template <class Work>
  void run(int64_t tasks, const Work& work) {
    if (tasks <= 1 || workers_.empty()) {
      for (int64_t task = 0; task < tasks; ++task) work(task);
      return;
    }
    const Call call = [](const void* w, int64_t task) { (*static_cast<const Work*>(w))(task); };
    share(static_cast<uint32_t>(tasks), call, &work);
  }

 private:
  using Call = void (*)(const void*, int64_t);

  // Tasks of a thread that nobody has taken: the first (32 bits) and the one after the last, in one
  // word. A section ends with all shares empty, so whatever a thread that comes late finds there is
  // of the section that is under way.
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
  };

  void share(uint32_t tasks, Call call, const void* work);
  void claim(size_t self);
  bool take(Share& share, bool first, uint32_t* task);
  void serve(size_t self);

  std::atomic<uint32_t> section_{0};
  std::atomic<uint32_t> open_{0};  // tasks of the section that are not done
  std::atomic<bool> stop_{false};
  Call call_ = nullptr;
  const void* work_ = nullptr;
  std::unique_ptr<Share[]> shares_;
  std::vector<std::thread> workers_;
};

}  // namespace dvs2s::engine
