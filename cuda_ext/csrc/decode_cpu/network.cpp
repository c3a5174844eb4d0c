#include "network.h"

#include <algorithm>

#include "search.h"

namespace dvs2s::engine {
namespace {

void pack_all(Pool& pool, const RowStore& store, int64_t rows, Matrix* to) {
  to->shape(store, rows);
  pool.run(to->blocks, [&](int64_t block) { to->fill(store, nullptr, block, kMinusInf); });
}

}  // namespace

Network::Network(const NetworkSizes& s, const Source& from, Precision p, int threads)
    : sizes(s), source(from), precision(p), pool(threads) {
  const int64_t gates = 3 * s.H, wide = source_width();
  const std::vector<Matrix::Part> inputs{
      {from.input[0], from.input_bias[0], gates}, {from.input[1], from.input_bias[1], gates}};
  const std::vector<Matrix::Part> words{{from.word_gates, from.word_bias, gates}};
  input.pack(p, inputs, s.E);
  for (int d = 0; d < 2; ++d) {
    recurrent[d].pack(p, {{from.recurrent[d], from.recurrent_bias[d], gates}}, s.H);
  }
  memory.pack(p, {{from.key, from.key_bias, s.H}, {from.context_gates, nullptr, gates}}, wide);
  start.pack(p, {{from.start, from.start_bias, s.H}}, wide);
  cell.pack(p, {{from.state_gates, from.state_bias, gates}, {from.query, nullptr, s.H}}, s.H);
  word.pack(p, words, s.E);
  // The choice of T is float32's in bf16, too: few of the rows are read.
  const Precision choice = p == kInt8 ? kInt8 : kFloat32;
  hidden.pack(choice, {{from.hidden, from.hidden_bias, s.D}}, 2 * s.bag);
  output.take(p, from.output, from.output_bias, s.V, s.H);
  content.take(choice, from.content, from.content_bias, s.V - s.num_fixed, s.D);
  const int64_t content_words = s.V - s.num_fixed;
  if (from.directions != nullptr && content_words > 0) {
    sketch.take(pool, from.content, from.content_bias, content_words, s.D, from.directions,
                p == kInt8);
  }
  pack_all(pool, output, s.num_fixed / kChunk * kChunk, &head);
  keep(inputs, s.inputs_kept, &inputs_);
  keep(words, s.gates_kept, &gates_);
}

// Most words that are read and said are the most frequent ones, which have the lowest ids, and to
// multiply one by its weights reads a quarter of what a step reads. Made of float32, so that no
// precision rounds them; in float32 they are what a step would make.
void Network::keep(const std::vector<Matrix::Part>& parts, int64_t words, Buffer<float>* out) {
  if (words == 0) return;
  Matrix exact;
  exact.pack(kFloat32, parts, sizes.E);
  const int64_t ld = exact.ld();
  out->reserve(words * ld);
  constexpr int64_t kWords = 96;
  pool.run((words + kWords - 1) / kWords, [&](int64_t task) {
    const int64_t first = task * kWords, n = std::min(kWords, words - first);
    Columns x;
    x.shape(kFloat32, n, sizes.E);
    x.group(0, n);
    for (int64_t c = 0; c < n; ++c) x.set(c, source.embedding + (first + c) * sizes.E);
    for (const auto& g : x.groups()) {
      x.interleave(g);
      x.multiply(exact, 0, exact.blocks, g, out->get() + (first + g.first) * ld, ld);
    }
  });
}

const Matrix& Network::full() {
  if (full_.rows == 0) pack_all(pool, output, sizes.V, &full_);
  return full_;
}

}  // namespace dvs2s::engine
