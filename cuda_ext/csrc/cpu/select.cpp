// Vocabulary selection: the best content words by partial selection, ids in order by a bit scan.
#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "operands.h"

namespace dvs2s {
namespace {

// Rows of flags become ids (B, K) ascending, 0 past the length, and lengths (B); K is the longest.
std::tuple<Tensor, Tensor> listed(
    const Tensor& like, const uint8_t* flags, int64_t batch, int64_t words) {
  Tensor lengths = torch::stable::new_empty(like, {batch}, ScalarType::Long);
  auto* n = static_cast<int64_t*>(lengths.mutable_data_ptr());
  int64_t longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    int64_t count = 0;
    for (int64_t v = 0; v < words; ++v) count += flags[b * words + v] != 0;
    n[b] = count;
    longest = std::max(longest, count);
  }
  Tensor ids = torch::stable::new_empty(like, {batch, longest}, ScalarType::Long);
  auto* out = static_cast<int64_t*>(ids.mutable_data_ptr());
  parallel(batch, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      int64_t* row = out + b * longest;
      int64_t slot = 0;
      for (int64_t v = 0; v < words; ++v) {
        if (flags[b * words + v] != 0) row[slot++] = v;
      }
      std::fill(row + slot, row + longest, 0);
    }
  });
  return {ids, lengths};
}

// Marks the `count` best of the words that are not marked yet; ties to the lower word, NaN on top
// as in torch's sort.
void mark_best(const float* scores, int64_t words, int64_t count, uint8_t* marks) {
  std::vector<int32_t> free;
  free.reserve(static_cast<size_t>(words));
  for (int64_t c = 0; c < words; ++c) {
    if (marks[c] == 0) free.push_back(static_cast<int32_t>(c));
  }
  auto before = [scores](int32_t a, int32_t b) {
    const float x = scores[a], y = scores[b];
    const bool nan_x = x != x, nan_y = y != y;
    if (nan_x != nan_y) return nan_x;
    if (x > y || y > x) return x > y;
    return a < b;
  };
  const int64_t wanted = std::min<int64_t>(count, static_cast<int64_t>(free.size()));
  if (wanted <= 0) return;
  if (wanted < static_cast<int64_t>(free.size())) {
    std::nth_element(free.begin(), free.begin() + (wanted - 1), free.end(), before);
  }
  for (int64_t i = 0; i < wanted; ++i) marks[free[i]] = 1;
}

std::tuple<Tensor, Tensor> select(
    const Tensor& scores, const Tensor& include, int64_t num_fixed, int64_t size) {
  STD_TORCH_CHECK(scores.dim() == 2 && include.dim() == 2, "scores and include must be (B, C), (B, V)");
  const int64_t batch = scores.size(0), content = scores.size(1), words = include.size(1);
  STD_TORCH_CHECK(
      include.size(0) == batch && words == num_fixed + content && num_fixed >= 0,
      "include must be (B, num_fixed + C)");
  STD_TORCH_CHECK(
      include.scalar_type() == ScalarType::Bool, "include must be bool: compare to make one");
  STD_TORCH_CHECK(size >= num_fixed, "size must be at least num_fixed = ", num_fixed, ", got ", size);
  const Tensor ranked =
      torch::stable::contiguous(torch::stable::to(scores, ScalarType::Float));
  const Tensor given = torch::stable::contiguous(include);
  const auto* score = static_cast<const float*>(ranked.const_data_ptr());
  std::vector<uint8_t> flags(static_cast<size_t>(batch * words));
  if (!flags.empty()) std::memcpy(flags.data(), given.const_data_ptr(), flags.size());
  parallel(batch, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      uint8_t* row = flags.data() + b * words;
      std::fill(row, row + num_fixed, uint8_t{1});
      int64_t taken = 0;
      for (int64_t v = num_fixed; v < words; ++v) taken += row[v] != 0;
      mark_best(score + b * content, content, size - num_fixed - taken, row + num_fixed);
    }
  });
  return listed(scores, flags.data(), batch, words);
}

std::tuple<Tensor, Tensor> compact(const Tensor& membership) {
  STD_TORCH_CHECK(
      membership.dim() == 2 && membership.scalar_type() == ScalarType::Bool,
      "membership must be (B, V) bool");
  const Tensor flags = torch::stable::contiguous(membership);
  return listed(
      membership, static_cast<const uint8_t*>(flags.const_data_ptr()), membership.size(0),
      membership.size(1));
}

}  // namespace
}  // namespace dvs2s

STABLE_TORCH_LIBRARY_IMPL(dvs2s, CPU, m) {
  m.impl("select", TORCH_BOX(&dvs2s::select));
  m.impl("compact", TORCH_BOX(&dvs2s::compact));
}
