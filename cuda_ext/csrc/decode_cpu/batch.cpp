#include "batch.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dvs2s::engine {
namespace {

constexpr int64_t kEos = 3;
constexpr size_t kSpare = 256;

class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Special words that are never generated, and those that the request forbids.
std::vector<int32_t> forbidden_slots(const Request& r, const Selection& s) {
  std::vector<int32_t> slots;
  for (size_t slot = 0; slot < r.ids.size(); ++slot) {
    const int64_t id = r.ids[slot];
    const bool never = id < 5 && id != kEos;
    if (never || (s.forbid != nullptr && s.forbid[id] != 0)) {
      slots.push_back(static_cast<int32_t>(slot));
    }
  }
  return slots;
}

}  // namespace

std::vector<int64_t> Batch::add(
    std::vector<NewRequest> requests, const SearchOptions& options, const Selection& selection) {
  std::vector<std::unique_ptr<Request>> added;
  std::vector<Request*> all;
  for (auto& one : requests) {
    auto request = fresh();
    request->id = next_id_++;
    request->message = std::move(one.message);
    request->uniforms = std::move(one.uniforms);
    request->given = std::move(one.given);
    request->options = options;
    request->failed = false;
    all.push_back(request.get());
    added.push_back(std::move(request));
  }
  {
    Stopwatch watch(seconds[0]);
    reader_.read(all);
  }
  {
    Stopwatch watch(seconds[1]);
    chooser_.predict(all, selection);
  }
  Stopwatch watch(seconds[2]);
  chooser_.choose(all, selection);
  std::vector<int64_t> ids;
  for (auto& request : added) {
    Request& r = *request;
    r.search = make_search(
        options, r.layout, kEos, forbidden_slots(r, selection), r.uniforms.data());
    ids.push_back(r.id);
    active_.push_back(std::move(request));
  }
  return ids;
}

void Batch::step() {
  if (active_.empty()) return;
  Stopwatch watch(seconds[3]);
  line_up();
  multiply_cell();
  advance_states();
  plan_output();
  multiply_output();
  search_all();
}

std::unique_ptr<Request> Batch::fresh() {
  if (spare_.empty()) return std::make_unique<Request>();
  auto request = std::move(spare_.back());
  spare_.pop_back();
  return request;
}

void Batch::retire(std::unique_ptr<Request> request) {
  request->search.reset();
  if (spare_.size() < kSpare) spare_.push_back(std::move(request));
}

std::unique_ptr<Request> Batch::remove(int64_t id) {
  const auto found = std::find_if(
      active_.begin(), active_.end(), [id](const auto& request) { return request->id == id; });
  if (found == active_.end()) return nullptr;
  auto request = std::move(*found);
  active_.erase(found);
  return request;
}

bool Batch::cancel(int64_t id) {
  auto request = remove(id);
  if (request == nullptr) return false;
  retire(std::move(request));
  return true;
}

bool Batch::stop(int64_t id) {
  auto request = remove(id);
  if (request == nullptr) return false;
  request->search->stop();
  ended_[id] = std::move(request);
  return true;
}

const Request* Batch::ended(int64_t id) const {
  const auto found = ended_.find(id);
  return found == ended_.end() ? nullptr : found->second.get();
}

const Request* Batch::find(int64_t id) const {
  for (const auto& request : active_) {
    if (request->id == id) return request.get();
  }
  return ended(id);
}

std::vector<int64_t> Batch::ended_ids() const {
  std::vector<int64_t> ids;
  for (const auto& [id, request] : ended_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

void Batch::release(int64_t id) {
  const auto found = ended_.find(id);
  if (found == ended_.end()) return;
  retire(std::move(found->second));
  ended_.erase(found);
}

void Batch::search_all() {
  outcome_.resize(active_.size());
  net_.pool.run(static_cast<int64_t>(active_.size()), [&](int64_t i) {
    outcome_[static_cast<size_t>(i)] = search_one(*active_[static_cast<size_t>(i)]);
  });
  size_t kept = 0;
  for (size_t i = 0; i < active_.size(); ++i) {
    auto& request = active_[i];
    for (const Column& word : request->search->newest()) {
      const int64_t id = request->ids[static_cast<size_t>(word.slot)];
      events_.push_back({request->id, word.parent, id});
    }
    request->failed = outcome_[i] == Advance::kNoNumbers;
    if (outcome_[i] == Advance::kGoesOn) {
      if (kept != i) active_[kept] = std::move(request);
      ++kept;
    } else {
      const int64_t id = request->id;
      ended_[id] = std::move(request);
    }
  }
  active_.resize(kept);
}

}  // namespace dvs2s::engine
