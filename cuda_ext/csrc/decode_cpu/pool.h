// Threads that share out the tasks of one section after another.
//
// Whoever is free claims the next task, the caller too, so a thread that the system has put to
// sleep holds nothing up but the task that it had begun. Waiting threads spin for some
// microseconds, the time between two sections, and then sleep: a busy neighbour gets its core.
#pragma once

#include <atomic>
#include <cstdint>
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
  // done. One caller at a time; work throws nothing.
  template <class Work>
  void run(int64_t tasks, const Work& work) {
    if (tasks <= 1 || workers_.empty()) {
      for (int64_t task = 0; task < tasks; ++task) work(task);
      return;
    }
    share(tasks, [](const void* w, int64_t task) { (*static_cast<const Work*>(w))(task); }, &work);
  }

 private:
  using Call = void (*)(const void*, int64_t);

  void share(int64_t tasks, Call call, const void* work);
  void claim();
  void serve();

  // What is claimed next: section (24 bits), its tasks (20), the next task (20), in one word, so
  // that a thread that comes late can not take a task of a section that it knows nothing of.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<uint32_t> section_{0};
  std::atomic<int32_t> done_{0};
  std::atomic<bool> stop_{false};
  Call call_ = nullptr;
  const void* work_ = nullptr;
  int64_t base_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace dvs2s::engine
