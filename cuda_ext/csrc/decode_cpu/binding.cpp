// The engine as operators: handles, tensors in, tensors out. dvs2s/decoding/engine.py calls them.
#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "batch.h"

namespace dvs2s::engine {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A network with the tensors that hold what it does not copy.
struct Loaded {
  std::vector<Tensor> keep;
  std::unique_ptr<Network> network;
};
struct Running {
  std::shared_ptr<Loaded> loaded;  // lives as long as its batches
  std::unique_ptr<Batch> batch;
};

template <class T>
class Registry {
 public:
  int64_t add(std::shared_ptr<T> one) {
    const std::lock_guard<std::mutex> lock(mutex_);
    all_[++last_] = std::move(one);
    return last_;
  }
  std::shared_ptr<T> at(int64_t handle, const char* what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = all_.find(handle);
    STD_TORCH_CHECK(found != all_.end(), what, " must be open, got handle ", handle, ": make a new one");
    return found->second;
  }
  void remove(int64_t handle) {
    std::shared_ptr<T> last;  // destroyed outside of the lock: a network joins its threads
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = all_.find(handle);
    if (found == all_.end()) return;
    last = std::move(found->second);
    all_.erase(found);
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<T>> all_;
  int64_t last_ = 0;
};

Registry<Loaded>& networks() {
  static Registry<Loaded> all;
  return all;
}
Registry<Running>& batches() {
  static Registry<Running> all;
  return all;
}

template <class Work>
auto checked(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::invalid_argument& error) {
    STD_TORCH_CHECK(false, error.what());
  }
}

const float* floats(const Tensor& t) { return static_cast<const float*>(t.const_data_ptr()); }

std::vector<int64_t> longs(const Tensor& t) {
  const Tensor flat = torch::stable::contiguous(torch::stable::to(t, ScalarType::Long));
  const auto* data = static_cast<const int64_t*>(flat.const_data_ptr());
  return {data, data + flat.numel()};
}

// weights: in the order of Source, each float32 and contiguous; the last, directions, may be empty.
// numbers: V, num_fixed, E, H, bag, D, precision, threads, words whose inputs, and whose gates, are
// kept.
int64_t engine_new(std::vector<Tensor> weights, std::vector<int64_t> numbers) {
  STD_TORCH_CHECK(weights.size() == 29, "weights must be 29 tensors, got ", weights.size());
  STD_TORCH_CHECK(numbers.size() == 10, "numbers must be 10, got ", numbers.size());
  for (auto& w : weights) {
    STD_TORCH_CHECK(
        w.scalar_type() == ScalarType::Float && w.is_contiguous(),
        "weights must be contiguous float32: convert the model");
  }
  const NetworkSizes sizes{
      numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
      std::clamp<int64_t>(numbers[8], 0, numbers[0]), std::clamp<int64_t>(numbers[9], 0, numbers[0])};
  const auto& w = weights;
  const int64_t wide = 2 * sizes.H + sizes.E, C = sizes.V - sizes.num_fixed;
  const int64_t directions = w[28].numel() == 0 ? 0 : kSketchWidth;
  STD_TORCH_CHECK(directions < sizes.D, "directions must be none where D = ", sizes.D,
                  " is not above ", kSketchWidth);
  const int64_t expected[29] = {
      sizes.V * sizes.E, 3 * sizes.H * sizes.E, 3 * sizes.H * sizes.H, 3 * sizes.H, 3 * sizes.H,
      3 * sizes.H * sizes.E, 3 * sizes.H * sizes.H, 3 * sizes.H, 3 * sizes.H, sizes.H * sizes.H,
      sizes.H * wide, sizes.H, sizes.H, sizes.H * wide, sizes.H, 3 * sizes.H * sizes.E, 3 * sizes.H,
      3 * sizes.H * wide, 3 * sizes.H * sizes.H, 3 * sizes.H, sizes.V * sizes.H, sizes.V,
      sizes.V * 2 * sizes.bag, sizes.D * 2 * sizes.bag, sizes.D, C * sizes.D, C, C, directions * sizes.D};
  for (size_t i = 0; i < 29; ++i) {
    STD_TORCH_CHECK(
        w[i].numel() == expected[i], "weight ", i, " must have ", expected[i], " elements, got ",
        w[i].numel());
  }
  const auto at = [&](size_t i) { return floats(w[i]); };
  Source source{
      at(0), {at(1), at(5)}, {at(2), at(6)}, {at(3), at(7)}, {at(4), at(8)}, at(9), at(10), at(11),
      at(12), at(13), at(14), at(15), at(16), at(17), at(18), at(19), at(20), at(21), at(22),
      at(23), at(24), at(25), at(26), at(27),
      directions == 0 ? nullptr : at(28)};
  return checked([&] {
    auto loaded = std::make_shared<Loaded>();
    loaded->network = std::make_unique<Network>(
        sizes, source, static_cast<Precision>(numbers[6]), static_cast<int>(numbers[7]));
    loaded->keep = std::move(weights);
    return networks().add(std::move(loaded));
  });
}

void engine_free(int64_t handle) { networks().remove(handle); }

int64_t engine_batch(int64_t handle) {
  auto loaded = networks().at(handle, "engine");
  auto running = std::make_shared<Running>();
  running->batch = std::make_unique<Batch>(*loaded->network);
  running->loaded = std::move(loaded);
  return batches().add(std::move(running));
}

void engine_batch_free(int64_t handle) { batches().remove(handle); }

std::vector<std::vector<int64_t>> rows_of(
    const Tensor& table, const Tensor& lengths, int64_t below, const char* name) {
  STD_TORCH_CHECK(table.dim() == 2 && lengths.dim() == 1 && table.size(0) == lengths.size(0), name,
                  " must be (B, S) with lengths (B)");
  const auto all = longs(table), counts = longs(lengths);
  const int64_t width = table.size(1);
  std::vector<std::vector<int64_t>> rows;
  for (size_t i = 0; i < counts.size(); ++i) {
    STD_TORCH_CHECK(counts[i] >= 1 && counts[i] <= width, name, " lengths must lie in 1..", width,
                    ", got ", counts[i]);
    const auto first = all.begin() + static_cast<int64_t>(i) * width;
    rows.emplace_back(first, first + counts[i]);
    for (const int64_t id : rows.back()) {
      STD_TORCH_CHECK(id >= 0 && id < below, name, " must lie in 0..", below - 1, ", got ", id);
    }
  }
  return rows;
}

// search: kind, beam, num_best, min_length, max_length, block_ngram, top_k.
// numbers: length_penalty, temperature, top_p, threshold.
// choice: Choice, size, message_words, wants_odds.
std::vector<int64_t> engine_add(
    int64_t handle, Tensor messages, Tensor lengths, std::vector<int64_t> search,
    std::vector<double> numbers, std::vector<int64_t> choice, std::optional<Tensor> penalty,
    std::optional<Tensor> include, std::optional<Tensor> forbid, std::optional<Tensor> given,
    std::optional<Tensor> given_lengths, std::optional<Tensor> uniforms) {
  const auto running = batches().at(handle, "batch");
  const Network& net = running->batch->network();
  STD_TORCH_CHECK(search.size() == 7 && numbers.size() == 4 && choice.size() == 4,
                  "search must hold 7, numbers 4 and choice 4 values");
  const SearchOptions options{
      static_cast<SearchKind>(search[0]), search[1], search[2], search[3], search[4], search[5],
      search[6], numbers[0], numbers[1], numbers[2]};
  Selection selection{static_cast<Choice>(choice[0]), choice[1], static_cast<float>(numbers[3]),
                      choice[2] != 0, choice[3] != 0};
  const auto table = [&](const std::optional<Tensor>& t, int64_t n, ScalarType type) -> const void* {
    if (!t.has_value()) return nullptr;
    STD_TORCH_CHECK(t->numel() == n && t->scalar_type() == type && t->is_contiguous(),
                    "penalty, include and forbid must be contiguous tables of float32, bool and "
                    "bool over ", n, " words, got ", t->numel());
    return t->const_data_ptr();
  };
  const int64_t V = net.sizes.V;
  selection.penalty = static_cast<const float*>(table(penalty, V - net.sizes.num_fixed, ScalarType::Float));
  selection.include = static_cast<const uint8_t*>(table(include, V, ScalarType::Bool));
  selection.forbid = static_cast<const uint8_t*>(table(forbid, V, ScalarType::Bool));
  std::vector<NewRequest> requests;
  for (auto& message : rows_of(messages, lengths, V, "messages")) requests.push_back({std::move(message), {}, {}});
  if (selection.choice == Choice::kGiven) {
    STD_TORCH_CHECK(given.has_value() && given_lengths.has_value(), "given must be ids and lengths");
    auto rows = rows_of(*given, *given_lengths, V, "vocabulary ids");
    STD_TORCH_CHECK(rows.size() == requests.size(), "vocab must have one row for each of ",
                    requests.size(), " messages, got ", rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      STD_TORCH_CHECK(rows[i].size() > 3 && rows[i][3] == 3,
                      "vocab lacks the special words in its first slots");
      STD_TORCH_CHECK(std::is_sorted(rows[i].begin(), rows[i].end(), std::less_equal<>()),
                      "vocab ids must rise without repeats");
      requests[i].given = std::move(rows[i]);
    }
  }
  if (uniforms.has_value()) {  // (B, max_length, num_best) float64
    const int64_t each = options.max_length * options.num_best;
    STD_TORCH_CHECK(
        uniforms->scalar_type() == ScalarType::Double && uniforms->is_contiguous() &&
            uniforms->numel() == each * static_cast<int64_t>(requests.size()),
        "uniforms must be contiguous (B, max_length, num_best) float64");
    const auto* data = static_cast<const double*>(uniforms->const_data_ptr());
    for (size_t i = 0; i < requests.size(); ++i) {
      const double* first = data + static_cast<int64_t>(i) * each;
      requests[i].uniforms.assign(first, first + each);
    }
  } else {
    STD_TORCH_CHECK(options.kind != SearchKind::kSampling, "uniforms must be given for sampling");
  }
  const std::lock_guard<std::mutex> lock(running->loaded->network->in_use);
  return running->batch->add(std::move(requests), options, selection);
}

template <class T>
Tensor table(const Tensor& like, const std::vector<T>& values, ScalarType type) {
  Tensor out = torch::stable::new_empty(like, {static_cast<int64_t>(values.size())}, type);
  std::copy(values.begin(), values.end(), static_cast<T*>(out.mutable_data_ptr()));
  return out;
}

// Up to `steps` steps, all with -1. Returns how many requests are active, the words made, (n * 3)
// of request, reply, word, and the ended requests. `like` says where tensors live: on the CPU.
std::tuple<int64_t, Tensor, Tensor> engine_step(int64_t handle, int64_t steps, Tensor like) {
  const auto running = batches().at(handle, "batch");
  const std::lock_guard<std::mutex> lock(running->loaded->network->in_use);
  Batch& batch = *running->batch;
  for (int64_t i = 0; i != steps && !batch.idle(); ++i) batch.step();
  std::vector<int64_t> events;
  for (const Event& e : batch.take_events()) {
    events.insert(events.end(), {e.request, e.reply, e.word});
  }
  return {batch.active(), table(like, events, ScalarType::Long),
          table(like, batch.ended_ids(), ScalarType::Long)};
}

// Takes ended requests out. Returns, one after the other: vocabulary ids, how many each; logits of
// beta, how many each; replies each; of each reply words, values, finished; slots; values; of each
// reply score and log-probability.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> engine_take(
    int64_t handle, std::vector<int64_t> requests, Tensor like) {
  const auto running = batches().at(handle, "batch");
  const std::lock_guard<std::mutex> lock(running->loaded->network->in_use);
  Batch& batch = *running->batch;
  std::vector<int64_t> ids, id_counts, odd_counts, reply_counts, meta, slots;
  std::vector<float> odds;
  std::vector<double> values, scores;
  bool failed = false;
  for (const int64_t id : requests) {
    const Request* r = batch.ended(id);
    STD_TORCH_CHECK(r != nullptr, "request ", id, " must have ended: step on, or it was taken");
    failed = failed || r->failed;
    ids.insert(ids.end(), r->ids.begin(), r->ids.end());
    id_counts.push_back(static_cast<int64_t>(r->ids.size()));
    odds.insert(odds.end(), r->log_odds.begin(), r->log_odds.end());
    odd_counts.push_back(static_cast<int64_t>(r->log_odds.size()));
    reply_counts.push_back(static_cast<int64_t>(r->search->replies().size()));
    for (const Found& found : r->search->replies()) {
      meta.insert(meta.end(), {static_cast<int64_t>(found.slots.size()),
                               static_cast<int64_t>(found.values.size()), found.finished});
      slots.insert(slots.end(), found.slots.begin(), found.slots.end());
      values.insert(values.end(), found.values.begin(), found.values.end());
      scores.insert(scores.end(), {found.score, found.log_prob});
    }
  }
  for (const int64_t id : requests) batch.release(id);
  STD_TORCH_CHECK(!failed, "log_probs must be free of NaN and +inf, got at least one: check the "
                  "model's weights and that every vocabulary holds an allowed word");
  return {table(like, ids, ScalarType::Long),          table(like, id_counts, ScalarType::Long),
          table(like, odds, ScalarType::Float),        table(like, odd_counts, ScalarType::Long),
          table(like, reply_counts, ScalarType::Long), table(like, meta, ScalarType::Long),
          table(like, slots, ScalarType::Long),        table(like, values, ScalarType::Double),
          table(like, scores, ScalarType::Double)};
}

// The vocabulary of a request that was not taken yet: ids, and the logits of beta of its content
// words.
std::tuple<Tensor, Tensor> engine_words(int64_t handle, int64_t request, Tensor like) {
  const auto running = batches().at(handle, "batch");
  const std::lock_guard<std::mutex> lock(running->loaded->network->in_use);
  const Request* r = running->batch->find(request);
  STD_TORCH_CHECK(r != nullptr, "request ", request, " must be in the batch: it was taken, or never was");
  return {table(like, r->ids, ScalarType::Long), table(like, r->log_odds, ScalarType::Float)};
}

// Ends a request: with the words that it has, or (drop) without a trace.
bool engine_stop(int64_t handle, int64_t request, bool drop) {
  const auto running = batches().at(handle, "batch");
  const std::lock_guard<std::mutex> lock(running->loaded->network->in_use);
  return drop ? running->batch->cancel(request) : running->batch->stop(request);
}

// Seconds so far in encoding, prediction, selection and search; requests kept for reuse.
Tensor engine_figures(int64_t handle, Tensor like) {
  const auto running = batches().at(handle, "batch");
  std::vector<double> all(running->batch->seconds.begin(), running->batch->seconds.end());
  all.push_back(static_cast<double>(running->batch->spare()));
  return table(like, all, ScalarType::Double);
}

std::string engine_isa() {
  return checked([] { return std::string(step_kernels().isa); });
}

}  // namespace
}  // namespace dvs2s::engine

STABLE_TORCH_LIBRARY_FRAGMENT(dvs2s, m) {
  m.def("engine_new(Tensor[] weights, int[] numbers) -> int");
  m.def("engine_free(int engine) -> ()");
  m.def("engine_batch(int engine) -> int");
  m.def("engine_batch_free(int batch) -> ()");
  m.def(
      "engine_add(int batch, Tensor messages, Tensor lengths, int[] search, float[] numbers, "
      "int[] choice, Tensor? penalty, Tensor? include, Tensor? forbid, Tensor? given, "
      "Tensor? given_lengths, Tensor? uniforms) -> int[]");
  m.def("engine_step(int batch, int steps, Tensor like) -> (int, Tensor, Tensor)");
  m.def(
      "engine_take(int batch, int[] requests, Tensor like) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("engine_words(int batch, int request, Tensor like) -> (Tensor, Tensor)");
  m.def("engine_stop(int batch, int request, bool drop) -> bool");
  m.def("engine_figures(int batch, Tensor like) -> Tensor");
  m.def("engine_isa() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CompositeExplicitAutograd, m) {
  m.impl("engine_new", TORCH_BOX(&dvs2s::engine::engine_new));
  m.impl("engine_free", TORCH_BOX(&dvs2s::engine::engine_free));
  m.impl("engine_batch", TORCH_BOX(&dvs2s::engine::engine_batch));
  m.impl("engine_batch_free", TORCH_BOX(&dvs2s::engine::engine_batch_free));
  m.impl("engine_add", TORCH_BOX(&dvs2s::engine::engine_add));
  m.impl("engine_step", TORCH_BOX(&dvs2s::engine::engine_step));
  m.impl("engine_take", TORCH_BOX(&dvs2s::engine::engine_take));
  m.impl("engine_words", TORCH_BOX(&dvs2s::engine::engine_words));
  m.impl("engine_stop", TORCH_BOX(&dvs2s::engine::engine_stop));
  m.impl("engine_figures", TORCH_BOX(&dvs2s::engine::engine_figures));
  m.impl("engine_isa", TORCH_BOX(&dvs2s::engine::engine_isa));
}
