// The decode engine without Python, for sanitizers: requests of every kind join, are cancelled and
// stopped; each result is the same alone on one thread and in company on several.
//
//   g++ -std=c++20 -O1 -g -fsanitize=address,undefined -I$TORCH/include \
//       cuda_ext/tests/engine_check.cpp cuda_ext/csrc/cpu/{avx512,avx2,portable,dispatch}.cpp \
//       $(ls cuda_ext/csrc/decode_cpu/*.cpp | grep -v binding) -o engine_check
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "../csrc/decode_cpu/batch.h"

using namespace dvs2s::engine;

namespace {

constexpr NetworkSizes kSizes{420, 140, 21, 18, 9, 71, 250, 200};

// Random float32 arrays; exactly as long as they have to be, so that reading past one is caught.
class Weights {
 public:
  explicit Weights(unsigned seed) : random_(seed) {
    const int64_t V = kSizes.V, E = kSizes.E, H = kSizes.H, D = kSizes.D, b = 2 * kSizes.bag;
    const int64_t wide = 2 * H + E, C = V - kSizes.num_fixed;
    Source& s = source;
    s.embedding = make(V * E);
    for (int d = 0; d < 2; ++d) {
      s.input[d] = make(3 * H * E), s.recurrent[d] = make(3 * H * H);
      s.input_bias[d] = make(3 * H), s.recurrent_bias[d] = make(3 * H);
    }
    s.query = make(H * H), s.key = make(H * wide), s.key_bias = make(H), s.energy = make(H);
    s.start = make(H * wide), s.start_bias = make(H);
    s.word_gates = make(3 * H * E), s.word_bias = make(3 * H), s.context_gates = make(3 * H * wide);
    s.state_gates = make(3 * H * H), s.state_bias = make(3 * H);
    s.output = make(V * H), s.output_bias = make(V);
    s.bags = make(V * b), s.hidden = make(D * b), s.hidden_bias = make(D);
    s.content = make(C * D), s.content_bias = make(C), s.repetition = make(C);
    // unit vectors: the first numbers of a row are its sketch
    auto& units = blocks_.emplace_back(static_cast<size_t>(kSketchWidth * D), 0.0f);
    for (int64_t k = 0; k < kSketchWidth; ++k) units[static_cast<size_t>(k * D + k)] = 1.0f;
    s.directions = units.data();
  }

  Source source{};

 private:
  const float* make(int64_t n) {
    std::normal_distribution<float> normal(0.0f, 0.5f);
    auto& block = blocks_.emplace_back(static_cast<size_t>(n));
    for (float& x : block) x = normal(random_);
    return block.data();
  }

  std::mt19937 random_;
  std::vector<std::vector<float>> blocks_;
};

struct Wish {
  NewRequest request;
  SearchOptions options;
  Selection selection;
};

Wish wish(unsigned seed) {
  std::mt19937 random(seed);
  auto up_to = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  Wish w{};
  for (int64_t i = up_to(9); i >= 0; --i) w.request.message.push_back(4 + up_to(kSizes.V - 4));
  const int64_t kind = up_to(3), beam = 1 + up_to(22);
  w.options = {static_cast<SearchKind>(kind), beam, kind == 0 ? 1 : 1 + up_to(kind == 1 ? beam : 3),
               up_to(3), 3 + up_to(9), up_to(4), up_to(2) * up_to(30),
               static_cast<double>(up_to(2)), 0.5 + static_cast<double>(up_to(2)),
               up_to(2) == 0 ? 1.0 : 0.8};
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const int64_t draws = w.options.max_length * w.options.num_best;
  for (int64_t i = 0; i < draws; ++i) w.request.uniforms.push_back(uniform(random));
  w.selection.choice = static_cast<Choice>(up_to(4));
  w.selection.size = kSizes.num_fixed + up_to(300);
  w.selection.threshold = 0.6f;
  w.selection.message_words = up_to(2) == 1;
  w.selection.wants_odds = up_to(2) == 1;
  for (int64_t id = 0; id < kSizes.V; ++id) {
    if (id < 5 || up_to(3) == 0) w.request.given.push_back(id);
  }
  return w;
}

bool same(const Request& a, const Request& b) {
  if (a.ids != b.ids || a.log_odds != b.log_odds) return false;
  const auto &x = a.search->replies(), &y = b.search->replies();
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i].slots != y[i].slots || x[i].values != y[i].values || x[i].score != y[i].score) {
      return false;
    }
  }
  return true;
}

int check(Precision precision) {
  const Weights weights(7);
  Network one(kSizes, weights.source, precision, 1), three(kSizes, weights.source, precision, 3);
  Batch company(three);
  std::map<int64_t, unsigned> seeds;
  std::mt19937 random(1);
  int compared = 0, wrong = 0;
  for (unsigned seed = 0; seed < 240; ++seed) {
    Wish w = wish(seed);
    const auto ids = company.add({w.request}, w.options, w.selection);
    if (random() % 5 == 0) {
      if (!company.cancel(ids[0])) ++wrong;
    } else {
      seeds[ids[0]] = seed;
    }
    if (random() % 2 == 0) company.step();
    while (seed == 239 && !company.idle()) company.step();
    company.take_events();
    for (const int64_t id : company.ended_ids()) {
      const Wish again = wish(seeds.at(id));
      Batch alone(one);
      const auto own = alone.add({again.request}, again.options, again.selection);
      while (!alone.idle()) alone.step();
      if (!same(*company.ended(id), *alone.ended(own[0]))) ++wrong;
      ++compared;
      company.release(id);
      seeds.erase(id);
    }
  }
  if (!company.idle() || !company.ended_ids().empty() || !seeds.empty()) ++wrong;
  const auto ids = company.add({wish(3).request}, wish(3).options, wish(3).selection);
  company.step();
  if (!company.idle() && !company.stop(ids[0])) ++wrong;
  std::printf("precision %d: %d compared, %d wrong\n", precision, compared, wrong);
  return wrong;
}

}  // namespace

int main() {
  int wrong = 0;
  for (int p = 0; p < kPrecisions; ++p) wrong += check(static_cast<Precision>(p));
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
