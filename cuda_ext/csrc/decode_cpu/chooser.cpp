#include "chooser.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "../cpu/kernels.h"

namespace dvs2s::engine {
namespace {

constexpr int64_t kSep = 4;
constexpr int64_t kTaskRows = 128;

float log_sigmoid(float x) { return std::min(x, 0.0f) - std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

// Two bags, of the whole message and of its last turn, each over the root of its words.
void Chooser::bag(const Request& request, float* out) const {
  const int64_t width = net_.sizes.bag;
  const auto& words = request.message;
  size_t turn = words.size();
  while (turn > 0 && words[turn - 1] != kSep) --turn;
  std::fill_n(out, 2 * width, 0.0f);
  for (size_t s = 0; s < words.size(); ++s) {
    const float* row = net_.source.bags + words[s] * 2 * width;
    const int64_t upto = s >= turn ? 2 * width : width;
    for (int64_t i = 0; i < upto; ++i) out[i] += row[i];
  }
  const auto last = static_cast<float>(std::max<size_t>(words.size() - turn, 1));
  const float whole = std::sqrt(static_cast<float>(words.size())), part = std::sqrt(last);
  for (int64_t i = 0; i < width; ++i) out[i] /= whole, out[width + i] /= part;
}

void Chooser::predict(const std::vector<Request*>& requests, const Selection& selection) {
  const bool needs = selection.choice == Choice::kSize || selection.choice == Choice::kThreshold;
  has_odds_ = needs || selection.wants_odds;
  if (!has_odds_) return;
  const auto count = static_cast<int64_t>(requests.size());
  const int64_t width = 2 * net_.sizes.bag, D = net_.sizes.D, C = net_.content.rows;
  bags_.shape(net_.precision, count, width);
  bags_.group(0, count);
  bag_.reserve(count * width);
  for (int64_t i = 0; i < count; ++i) {
    bag(*requests[static_cast<size_t>(i)], bag_.get() + i * width);
    bags_.set(i, bag_.get() + i * width);
  }
  const int64_t ld = net_.hidden.ld();
  guess_.reserve(count * ld);
  for (const auto& g : bags_.groups()) {
    bags_.interleave(g);
    bags_.multiply(net_.hidden, 0, net_.hidden.blocks, g, guess_.get() + g.first * ld, ld);
  }
  const int64_t row_bytes = net_.content.units * kUnitBytes;
  rows_.reserve(count * row_bytes);
  scales_.reserve(count);
  const int offset = net_.precision == kInt8 ? kernels().int8_offset - 128 : 0;
  for (int64_t i = 0; i < count; ++i) {
    step_kernels().tanh(guess_.get() + i * ld, D);
    char* row = rows_.get() + i * row_bytes;
    scales_[i] = step_kernels().to_row[net_.precision](guess_.get() + i * ld, D,
                                                      net_.content.units, row);
    if (offset != 0) {
      for (int64_t k = 0; k < row_bytes; ++k) row[k] = static_cast<char>(row[k] + offset);
    }
  }
  odds_.reserve(count * C);
  net_.pool.run((C + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    score_content(task * kTaskRows, std::min(C, (task + 1) * kTaskRows), count);
  });
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int64_t> words = requests[static_cast<size_t>(i)]->message;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    for (const int64_t word : words) {
      const int64_t c = word - net_.sizes.num_fixed;
      if (c >= 0) odds_[i * C + c] += net_.source.repetition[c];
    }
  }
}

void Chooser::score_content(int64_t first, int64_t last, int64_t count) {
  const auto& table = kernels();
  const Dots dots = net_.precision == kFloat32 ? table.f32
      : net_.precision == kBfloat16           ? table.bf16
                                              : table.int8;
  const RowStore& store = net_.content;
  const int64_t C = store.rows, row_bytes = store.units * kUnitBytes;
  const auto n = static_cast<int>(last - first);
  constexpr int64_t kMost = 16;
  const void* w[kTaskRows];
  const void* x[kMost];
  float out[kTaskRows * kMost];
  for (int r = 0; r < n; ++r) w[r] = store.row(first + r);
  for (int64_t i = 0; i < count; i += kMost) {
    const auto nx = static_cast<int>(std::min(kMost, count - i));
    for (int j = 0; j < nx; ++j) x[j] = rows_.get() + (i + j) * row_bytes;
    dots(w, n, x, nx, store.columns, out, kMost, nullptr);
    for (int j = 0; j < nx; ++j) {
      float* line = odds_.get() + (i + j) * C + first;
      for (int r = 0; r < n; ++r) {
        const float scale = net_.precision == kInt8 ? store.scale[first + r] * scales_[i + j] : 1.0f;
        const float z = out[r * kMost + j] * scale + store.bias[first + r];
        line[r] = z == z ? z : kMinusInf;  // an order among them is needed
      }
    }
  }
}

void Chooser::choose(const std::vector<Request*>& requests, const Selection& selection) {
  for (size_t i = 0; i < requests.size(); ++i) {
    const int64_t C = net_.content.rows;
    pick(*requests[i], selection,
         has_odds_ ? odds_.get() + static_cast<int64_t>(i) * C : nullptr);
  }
  gather(requests);
}

// Source: dvs2s/dynamic_vocab.py, select_words; of equal ranks the lower word comes in.
void Chooser::pick(Request& r, const Selection& s, const float* odds) {
  const int64_t V = net_.sizes.V, fixed = net_.sizes.num_fixed, C = V - fixed;
  r.ids.clear();
  r.full = s.choice == Choice::kFull || (s.choice == Choice::kSize && s.size >= V);
  if (s.choice == Choice::kGiven) {
    r.ids = r.given;
    r.full = static_cast<int64_t>(r.ids.size()) == V;
  } else if (r.full) {
    r.ids.resize(static_cast<size_t>(V));
    std::iota(r.ids.begin(), r.ids.end(), int64_t{0});
  } else {
    taken_.assign(static_cast<size_t>(V), 0);
    if (s.include != nullptr) taken_.assign(s.include, s.include + V);
    if (s.message_words) {
      for (const int64_t word : r.message) taken_[static_cast<size_t>(word)] = 1;
    }
    std::fill_n(taken_.begin(), fixed, uint8_t{1});
    uint8_t* content = taken_.data() + fixed;
    if (s.choice == Choice::kThreshold) {
      for (int64_t c = 0; c < C; ++c) {
        if (1.0f / (1.0f + std::exp(-odds[c])) >= s.threshold) content[c] = 1;
      }
    } else {
      order_.clear();
      int64_t room = s.size - fixed;
      for (int64_t c = 0; c < C; ++c) {
        if (content[c] != 0) --room;
        else order_.push_back(static_cast<int32_t>(c));
      }
      const float* rank = odds;
      if (s.penalty != nullptr) {
        rank_.resize(static_cast<size_t>(C));
        for (int64_t c = 0; c < C; ++c) {
          rank_[static_cast<size_t>(c)] = log_sigmoid(odds[c]) - s.penalty[c];
        }
        rank = rank_.data();
      }
      room = std::clamp<int64_t>(room, 0, static_cast<int64_t>(order_.size()));
      if (room > 0) {
        std::nth_element(order_.begin(), order_.begin() + (room - 1), order_.end(),
                         [rank](int32_t a, int32_t b) {
                           return rank[a] != rank[b] ? rank[a] > rank[b] : a < b;
                         });
      }
      for (int64_t i = 0; i < room; ++i) content[order_[static_cast<size_t>(i)]] = 1;
    }
    for (int64_t v = 0; v < V; ++v) {
      if (taken_[static_cast<size_t>(v)] != 0) r.ids.push_back(v);
    }
  }
  r.log_odds.clear();
  for (const int64_t id : r.ids) {
    if (odds != nullptr && id >= fixed) r.log_odds.push_back(odds[id - fixed]);
  }
}

void Chooser::gather(const std::vector<Request*>& requests) {
  std::vector<int64_t> starts{0};
  for (Request* r : requests) {
    const auto K = static_cast<int64_t>(r->ids.size());
    const int64_t head = net_.head.rows;
    r->head = !r->full && K >= head && (head == 0 || r->ids[static_cast<size_t>(head - 1)] == head - 1)
        ? head : 0;
    if (r->full) net_.full();
    if (!r->full) r->rows.shape(net_.output, K - r->head);
    const int64_t blocks = r->full ? net_.full().blocks : r->rows.blocks;
    r->layout = {K, r->head + blocks * kBlockRows};
    starts.push_back(starts.back() + (r->full ? 0 : blocks));
  }
  net_.pool.run(starts.back(), [&](int64_t task) {
    const auto i = std::upper_bound(starts.begin(), starts.end(), task) - starts.begin() - 1;
    Request& r = *requests[static_cast<size_t>(i)];
    r.rows.fill(net_.output, r.ids.data() + r.head, task - starts[static_cast<size_t>(i)], kMinusInf);
  });
}

}  // namespace dvs2s::engine
