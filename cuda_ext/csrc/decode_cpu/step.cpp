// One step of a batch: next states of all hypotheses, and the scores of their next words.
//
// Hypotheses that continue the same one share its attention and its state's products, and those
// that end in the same word share the word's: both are computed once.
#include <algorithm>
#include <cmath>

#include "../cpu/kernels.h"
#include "batch.h"
#include "exact.h"

namespace dvs2s::engine {
namespace {

constexpr int64_t kTaskBlocks = kChunk / kBlockRows;
constexpr int64_t kBos = 2;
// Beyond it a product of exp(2 q) and exp(2 k) could overflow float32.
constexpr float kSafeRange = 20.0f;

int64_t tasks_of(const Matrix& m) { return (m.blocks + kTaskBlocks - 1) / kTaskBlocks; }

// How a request's rows are found: the shared head and rows of its own, the full vocabulary, or
// rows of its own alone. Requests of a kind stand side by side in a step.
int kind(const Request& r) { return r.full ? 1 : r.head > 0 ? 0 : 2; }

}  // namespace

// Lists the step's hypotheses by the state that they continue, and the distinct words.
void Batch::line_up() {
  std::stable_sort(active_.begin(), active_.end(), [](const auto& a, const auto& b) {
    return kind(*a) < kind(*b);
  });
  parents_.clear();
  children_.clear();
  columns_ = longest_ = 0;
  for (const auto& request : active_) {
    const auto& columns = request->search->columns();
    request->first_column = columns_;
    columns_ += static_cast<int64_t>(columns.size());
    longest_ = std::max(longest_, static_cast<int64_t>(request->message.size()));
    request->states[1 - request->now].reserve(
        static_cast<int64_t>(columns.size()) * net_.sizes.H);
    const size_t first = parents_.size();
    for (const Column& column : columns) {
      const bool known = std::any_of(
          parents_.begin() + static_cast<int64_t>(first), parents_.end(),
          [&](const Parent& p) { return p.column == column.parent; });
      if (!known) parents_.push_back({request.get(), column.parent, 0, 0});
    }
    for (size_t p = first; p < parents_.size(); ++p) {
      parents_[p].first_child = static_cast<int64_t>(children_.size());
      for (size_t c = 0; c < columns.size(); ++c) {
        if (columns[c].parent != parents_[p].column) continue;
        const int32_t slot = columns[c].slot;
        const int64_t word = slot == kBegin ? kBos : request->ids[static_cast<size_t>(slot)];
        children_.push_back({request.get(), static_cast<int64_t>(c), word, net_.gates_of(word)});
      }
      parents_[p].children = static_cast<int64_t>(children_.size()) - parents_[p].first_child;
    }
  }
  find_words();
}

// Replaces the words of children_ whose gates are not kept by places among the distinct ones.
void Batch::find_words() {
  words_.clear();
  word_place_.resize(static_cast<size_t>(net_.sizes.V), 0);
  for (Child& child : children_) {
    if (child.gates != nullptr) continue;
    int32_t& place = word_place_[static_cast<size_t>(child.word)];
    const auto at = static_cast<size_t>(place);
    if (at >= words_.size() || words_[at] != child.word) {
      place = static_cast<int32_t>(words_.size());
      words_.push_back(child.word);
    }
    child.word = place;
  }
}

void Batch::multiply_cell() {
  const int64_t H = net_.sizes.H, E = net_.sizes.E;
  const auto parents = static_cast<int64_t>(parents_.size());
  const auto words = static_cast<int64_t>(words_.size());
  parent_x_.shape(net_.precision, parents, H);
  parent_x_.group(0, parents);
  word_x_.shape(net_.precision, words, E);
  word_x_.group(0, words);
  const auto first = static_cast<int64_t>(parent_x_.groups().size());
  net_.pool.run(first + static_cast<int64_t>(word_x_.groups().size()), [&](int64_t task) {
    const bool of_word = task >= first;
    Columns& x = of_word ? word_x_ : parent_x_;
    const auto& g = x.groups()[static_cast<size_t>(of_word ? task - first : task)];
    for (int64_t c = g.first; c < g.first + g.n; ++c) {
      const auto at = static_cast<size_t>(c);
      if (of_word) {
        x.set(c, net_.source.embedding + words_[at] * E);
      } else {
        const Request& r = *parents_[at].request;
        x.set(c, r.states[r.now].get() + parents_[at].column * H);
      }
    }
    x.interleave(g);
  });
  cells_.reserve(parents * net_.cell.ld());
  word_gates_.reserve(words * net_.word.ld());
  const int64_t cell_tasks = tasks_of(net_.cell);
  net_.pool.run(cell_tasks + (words > 0 ? tasks_of(net_.word) : 0), [&](int64_t task) {
    const bool of_word = task >= cell_tasks;
    const Matrix& w = of_word ? net_.word : net_.cell;
    const Columns& x = of_word ? word_x_ : parent_x_;
    const int64_t from = (of_word ? task - cell_tasks : task) * kTaskBlocks;
    const int64_t to = std::min(w.blocks, from + kTaskBlocks);
    float* out = (of_word ? word_gates_.get() : cells_.get()) + from * kBlockRows;
    for (const auto& g : x.groups()) {
      x.multiply(w, from, to, g, out + g.first * w.ld(), w.ld());
    }
  });
  for (Child& child : children_) {
    if (child.gates == nullptr) child.gates = word_gates_.get() + child.word * net_.word.ld();
  }
}

void Batch::advance_states() {
  const int64_t H = net_.sizes.H;
  const auto parents = static_cast<int64_t>(parents_.size());
  context_.reserve(parents * 3 * H);
  exp_query_.reserve(parents * H);
  weights_.reserve(parents * longest_);
  state_x_.shape(net_.precision, columns_, H);
  net_.pool.run(parents, [&](int64_t i) { attend(parents_[static_cast<size_t>(i)], i); });
  for (const auto& request : active_) request->now = 1 - request->now;
}

// Attention of one state, and the next states of its children.
void Batch::attend(const Parent& parent, int64_t index) {
  const StepKernels& k = step_kernels();
  const int64_t H = net_.sizes.H, ld = net_.memory.ld();
  Request& r = *parent.request;
  const auto length = static_cast<int64_t>(r.message.size());
  const float* cell = cells_.get() + index * net_.cell.ld();
  const float* query = cell + 3 * H;
  float* weights = weights_.get() + index * longest_;
  float* exp_query = exp_query_.get() + index * H;
  const float range = std::max(k.exp_twice(query, H, exp_query), r.key_range);
  float largest = kMinusInf;
  for (int64_t s = 0; s < length; ++s) {
    weights[s] = range < kSafeRange
        ? k.energy(exp_query, r.exp_keys.get() + s * H, net_.source.energy, H)
        : k.energy_of_sums(query, r.memory.get() + s * ld, net_.source.energy, H);
    largest = std::max(largest, weights[s]);
  }
  float sum = 0.0f;
  for (int64_t s = 0; s < length; ++s) sum += weights[s] = std::exp(weights[s] - largest);
  for (int64_t s = 0; s < length; ++s) weights[s] /= sum;
  float* context = context_.get() + index * 3 * H;
  k.mix(r.memory.get() + H, ld, weights, length, 3 * H, context);
  const float* state = r.states[r.now].get() + parent.column * H;
  float* next = r.states[1 - r.now].get();
  for (int64_t c = parent.first_child; c < parent.first_child + parent.children; ++c) {
    const Child& child = children_[static_cast<size_t>(c)];
    float* out = next + child.column * H;
    k.gates(child.gates, context, cell, state, H, out);
    state_x_.set(r.first_column + child.column, out);
  }
}

// Groups the new states and lists the products that score their words.
void Batch::plan_output() {
  products_.clear();
  places_ = 0;
  int64_t shared = 0, full = 0;  // columns of kinds 0 and 1
  for (const auto& request : active_) {
    const auto n = static_cast<int64_t>(request->search->columns().size());
    places_ = std::max(places_, request->layout.places);
    if (kind(*request) == 0) shared += n;
    if (kind(*request) == 1) full += n;
  }
  chunks_ = (places_ + kChunk - 1) / kChunk;
  const auto groups = [&] { return static_cast<int64_t>(state_x_.groups().size()); };
  if (shared > 0) {
    state_x_.group(0, shared, 1);
    add_products(net_.head, 0, groups(), 0);
  }
  if (full > 0) {
    const int64_t begin = groups();
    state_x_.group(shared, full, 1);
    add_products(net_.full(), begin, groups(), 0);
  }
  for (const auto& request : active_) {
    if (request->full) continue;
    const int64_t begin = groups();
    state_x_.group(
        request->first_column, static_cast<int64_t>(request->search->columns().size()), 0);
    add_products(request->rows, begin, groups(), request->head);
  }
  logits_.reserve(columns_ * places_);
  chunk_largest_.reserve(columns_ * chunks_);
  chunk_sum_.reserve(columns_ * chunks_);
  largest_.reserve(columns_);
  log_sum_.reserve(columns_);
}

void Batch::add_products(
    const Matrix& rows, int64_t group_begin, int64_t group_end, int64_t slot) {
  for (int64_t first = 0; first < rows.blocks; first += kTaskBlocks) {
    const int64_t last = std::min(rows.blocks, first + kTaskBlocks);
    products_.push_back({&rows, first, last, group_begin, group_end, slot + first * kBlockRows});
  }
}

void Batch::multiply_output() {
  const auto& groups = state_x_.groups();
  const bool interleaves =
      std::any_of(groups.begin(), groups.end(), [](const auto& g) { return g.n > 1; });
  if (interleaves) {
    net_.pool.run(static_cast<int64_t>(groups.size()), [&](int64_t g) {
      state_x_.interleave(groups[static_cast<size_t>(g)]);
    });
  }
  net_.pool.run(static_cast<int64_t>(products_.size()), [&](int64_t i) {
    const Product& p = products_[static_cast<size_t>(i)];
    const int64_t n = (p.last - p.first) * kBlockRows, chunk = p.slot / kChunk;
    for (int64_t j = p.group_begin; j < p.group_end; ++j) {
      const auto& g = groups[static_cast<size_t>(j)];
      float* out = logits_.get() + g.first * places_ + p.slot;
      state_x_.multiply(*p.rows, p.first, p.last, g, out, places_);
      for (int c = 0; c < g.n; ++c) {
        const int64_t at = (g.first + c) * chunks_ + chunk;
        kernels().stats(out + c * places_, n, &chunk_largest_[at], &chunk_sum_[at]);
      }
    }
  });
}

// Makes log-probabilities of a request's logits, in the order of the chunks, and searches.
Advance Batch::search_one(Request& r) {
  const int64_t first = r.first_column;
  const int64_t chunks = (r.layout.places + kChunk - 1) / kChunk;
  const auto columns = static_cast<int64_t>(r.search->columns().size());
  for (int64_t c = first; c < first + columns; ++c) {
    const float* largest = chunk_largest_.get() + c * chunks_;
    const float* sums = chunk_sum_.get() + c * chunks_;
    const float top = *std::max_element(largest, largest + chunks);
    float sum = 0.0f;
    for (int64_t i = 0; i < chunks; ++i) {
      sum += largest[i] > kMinusInf ? sums[i] * std::exp(largest[i] - top) : sums[i];
    }
    // Not for a beam: its hypotheses compete with one another, and their rows would cost it 9 %.
    if (net_.precision != kFloat32 && r.options.kind != SearchKind::kBeam) {
      const float* state = r.states[r.now].get() + (c - first) * net_.sizes.H;
      float* bounds = chunk_largest_.get() + c * chunks_;
      sum = make_exact(net_, r, state, {logits_.get() + c * places_, bounds, chunks, top, sum});
    }
    largest_[c] = top;
    log_sum_[c] = std::log(sum);
  }
  return r.search->advance(
      {logits_.get() + first * places_, places_, largest_.get() + first, log_sum_.get() + first,
       chunk_largest_.get() + first * chunks_, chunks_});
}

}  // namespace dvs2s::engine
