#include "reader.h"

#include <algorithm>
#include <cstring>

namespace dvs2s::engine {
namespace {

constexpr int64_t kTaskBlocks = 8;

int64_t tasks_of(const Matrix& m) { return (m.blocks + kTaskBlocks - 1) / kTaskBlocks; }

// Multiplies task `task` of a matrix by all groups of columns, to out (column, ld).
void multiply(const Columns& x, const Matrix& w, int64_t task, float* out) {
  const int64_t first = task * kTaskBlocks, last = std::min(w.blocks, first + kTaskBlocks);
  for (const auto& g : x.groups()) {
    x.multiply(w, first, last, g, out + g.first * w.ld() + first * kBlockRows, w.ld());
  }
}

}  // namespace

void Reader::read(const std::vector<Request*>& requests) {
  requests_ = requests;
  std::stable_sort(requests_.begin(), requests_.end(), [](const Request* a, const Request* b) {
    return a->message.size() > b->message.size();
  });
  offsets_.clear();
  words_ = 0;
  for (const Request* r : requests_) {
    offsets_.push_back(words_);
    words_ += static_cast<int64_t>(r->message.size());
  }
  embed();
  recur();
  remember();
  begin();
}

// The input products of all words in both directions, those that are not kept made here, and the
// embeddings' place in the sources.
void Reader::embed() {
  const int64_t E = net_.sizes.E, H = net_.sizes.H, wide = net_.source_width();
  source_.reserve(words_ * wide);
  inputs_of_.resize(static_cast<size_t>(words_));
  made_.clear();
  for (size_t i = 0; i < requests_.size(); ++i) {
    for (size_t s = 0; s < requests_[i]->message.size(); ++s) {
      const int64_t place = offsets_[i] + static_cast<int64_t>(s);
      const float* from = net_.source.embedding + requests_[i]->message[s] * E;
      std::memcpy(source_.get() + place * wide + 2 * H, from, static_cast<size_t>(E) * 4);
      inputs_of_[static_cast<size_t>(place)] = net_.inputs_of(requests_[i]->message[s]);
      if (inputs_of_[static_cast<size_t>(place)] == nullptr) made_.push_back({place, from});
    }
  }
  if (made_.empty()) return;
  const auto count = static_cast<int64_t>(made_.size());
  embedded_.shape(net_.precision, count, E);
  embedded_.group(0, count);
  const auto& groups = embedded_.groups();
  net_.pool.run(static_cast<int64_t>(groups.size()), [&](int64_t i) {
    const auto& g = groups[static_cast<size_t>(i)];
    for (int64_t c = g.first; c < g.first + g.n; ++c) {
      embedded_.set(c, made_[static_cast<size_t>(c)].embedding);
    }
    embedded_.interleave(g);
  });
  inputs_.reserve(count * net_.input.ld());
  net_.pool.run(tasks_of(net_.input), [&](int64_t task) {
    multiply(embedded_, net_.input, task, inputs_.get());
  });
  for (int64_t i = 0; i < count; ++i) {
    inputs_of_[static_cast<size_t>(made_[static_cast<size_t>(i)].place)] =
        inputs_.get() + i * net_.input.ld();
  }
}

void Reader::recur() {
  for (int d = 0; d < 2; ++d) {
    states_[d].shape(net_.precision, static_cast<int64_t>(requests_.size()), net_.sizes.H);
    recurrent_[d].reserve(static_cast<int64_t>(requests_.size()) * net_.recurrent[d].ld());
  }
  // Step by step in both directions together, unless the caches hold the weights of one alone.
  constexpr int64_t kBothFit = int64_t{10} << 20;
  if (2 * net_.recurrent[0].bytes() <= kBothFit) return recur_in(0, 2);
  recur_in(0, 1);
  recur_in(1, 2);
}

// Directions from <= d < to.
void Reader::recur_in(int from, int to) {
  const auto count = static_cast<int64_t>(requests_.size());
  const int both = to - from;
  const auto longest = static_cast<int64_t>(requests_[0]->message.size());
  for (int64_t t = 0, active = count; t < longest; ++t) {
    while (static_cast<int64_t>(requests_[static_cast<size_t>(active - 1)]->message.size()) <= t) {
      --active;
    }
    if (t > 0) {
      for (int d = from; d < to; ++d) states_[d].clear_groups(), states_[d].group(0, active);
      const auto groups = static_cast<int64_t>(states_[from].groups().size());
      if (active > 1) {
        net_.pool.run(both * groups, [&](int64_t i) {
          Columns& columns = states_[from + i % both];
          columns.interleave(columns.groups()[static_cast<size_t>(i / both)]);
        });
      }
      const int64_t tasks = tasks_of(net_.recurrent[0]);
      net_.pool.run(both * tasks, [&](int64_t i) {
        const int64_t d = from + i / tasks;
        multiply(states_[d], net_.recurrent[d], i % tasks, recurrent_[d].get());
      });
    }
    net_.pool.run(both * active, [&](int64_t i) { step_state(from + i % both, i / both, t); });
  }
}

// The state of a message after its t-th word in direction d.
void Reader::step_state(int64_t d, int64_t row, int64_t t) {
  const int64_t H = net_.sizes.H, wide = net_.source_width();
  const auto length = static_cast<int64_t>(requests_[static_cast<size_t>(row)]->message.size());
  const int64_t place = offsets_[static_cast<size_t>(row)] + (d == 0 ? t : length - 1 - t);
  float* state = source_.get() + place * wide + d * H;
  const float* before = t == 0 ? zeros_.data() : state + (d == 0 ? -wide : wide);
  const float* gates = t == 0 ? net_.recurrent[d].bias.get()
                              : recurrent_[d].get() + row * net_.recurrent[d].ld();
  step_kernels().gates(
      inputs_of_[static_cast<size_t>(place)] + d * 3 * H, nullptr, gates, before, H, state);
  states_[d].set(row, state);
}

// Attention keys and context gates of every word.
void Reader::remember() {
  const int64_t H = net_.sizes.H, wide = net_.source_width(), ld = net_.memory.ld();
  sources_.shape(net_.precision, words_, wide);
  std::vector<Request*> owners;
  for (size_t i = 0; i < requests_.size(); ++i) {
    const auto length = static_cast<int64_t>(requests_[i]->message.size());
    sources_.group(offsets_[i], length);
    owners.resize(sources_.groups().size(), requests_[i]);
    requests_[i]->memory.reserve(length * ld);
    requests_[i]->exp_keys.reserve(length * H);
    requests_[i]->key_range = 0;
  }
  const auto& groups = sources_.groups();
  std::vector<float*> outs;
  for (size_t g = 0, i = 0; g < groups.size(); ++g) {
    while (requests_[i] != owners[g]) ++i;
    outs.push_back(owners[g]->memory.get() + (groups[g].first - offsets_[i]) * ld);
  }
  net_.pool.run(static_cast<int64_t>(groups.size()), [&](int64_t i) {
    const auto& g = groups[static_cast<size_t>(i)];
    for (int64_t c = g.first; c < g.first + g.n; ++c) sources_.set(c, source_.get() + c * wide);
    sources_.interleave(g);
  });
  net_.pool.run(tasks_of(net_.memory), [&](int64_t task) {
    const int64_t first = task * kTaskBlocks;
    const int64_t last = std::min(net_.memory.blocks, first + kTaskBlocks);
    for (size_t g = 0; g < groups.size(); ++g) {
      sources_.multiply(net_.memory, first, last, groups[g], outs[g] + first * kBlockRows, ld);
    }
  });
  net_.pool.run(static_cast<int64_t>(requests_.size()), [&](int64_t i) {
    Request& r = *requests_[static_cast<size_t>(i)];
    for (size_t s = 0; s < r.message.size(); ++s) {
      const auto at = static_cast<int64_t>(s);
      const float range = step_kernels().exp_twice(
          r.memory.get() + at * ld, H, r.exp_keys.get() + at * H);
      r.key_range = std::max(r.key_range, range);
    }
  });
}

// The state before the first word, from the last states and the mean of the embeddings.
void Reader::begin() {
  const int64_t E = net_.sizes.E, H = net_.sizes.H, wide = net_.source_width();
  const auto count = static_cast<int64_t>(requests_.size());
  start_in_.reserve(count * wide);
  start_out_.reserve(count * net_.start.ld());
  starts_.shape(net_.precision, count, wide);
  starts_.group(0, count);
  for (int64_t i = 0; i < count; ++i) {
    const auto length = static_cast<int64_t>(requests_[static_cast<size_t>(i)]->message.size());
    const float* first = source_.get() + offsets_[static_cast<size_t>(i)] * wide;
    float* x = start_in_.get() + i * wide;
    std::memcpy(x, first + (length - 1) * wide, static_cast<size_t>(H) * 4);
    std::memcpy(x + H, first + H, static_cast<size_t>(H) * 4);
    for (int64_t e = 0; e < E; ++e) {
      float sum = 0.0f;
      for (int64_t s = 0; s < length; ++s) sum += first[s * wide + 2 * H + e];
      x[2 * H + e] = sum / static_cast<float>(length);
    }
    starts_.set(i, x);
  }
  for (const auto& g : starts_.groups()) starts_.interleave(g);
  net_.pool.run(tasks_of(net_.start), [&](int64_t task) {
    multiply(starts_, net_.start, task, start_out_.get());
  });
  for (int64_t i = 0; i < count; ++i) {
    Request& r = *requests_[static_cast<size_t>(i)];
    float* state = start_out_.get() + i * net_.start.ld();
    step_kernels().tanh(state, H);
    r.now = 0;
    std::memcpy(r.states[0].reserve(H), state, static_cast<size_t>(H) * 4);
  }
}

}  // namespace dvs2s::engine
