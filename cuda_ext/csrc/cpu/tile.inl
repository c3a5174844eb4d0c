// Register tiles of dot products, for an arithmetic D of one instruction set. Included inside an
// anonymous namespace of each instruction set's file, after its `#pragma GCC target`, so that no
// copy compiled for one processor is ever linked into another's path.
//
// D has: Weight, Hidden (element types), LoadW (vector), Acc, kLanes, kMaxW, kMaxX;
//   load_w, load_x (p), tail_w, tail_x (p, n), zero(), fma(acc, w, x),
//   excess(x, H): what load_w's form of the weights adds to every sum with the hidden row x,
//   reduce(acc, excess) -> float; where kMaxW is 4, reduce4(accs, excess, out): the same sums of
//   four.

constexpr int kSecondCache = 2;  // of __builtin_prefetch

// f(0), f(1) ... f(N - 1), each a constant: arrays that are indexed by these alone are registers,
// where those indexed in a loop are written to memory at its end and read again after it.
template <int N, class F>
inline __attribute__((always_inline)) void each(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

// One tile. On the way kAhead rows of `next` are fetched.
template <class D, int NW, int NX, int kAhead>
inline __attribute__((always_inline)) void tile(
    const typename D::Weight* const* w, const typename D::Hidden* const* x, int64_t H, float* out,
    int64_t ld, const void* const* next) {
  typename D::Acc acc[NW][NX];
  each<NW>([&](auto i) { each<NX>([&](auto j) { acc[i][j] = D::zero(); }); });
  int64_t k = 0;
  for (; k + D::kLanes <= H; k += D::kLanes) {
    typename D::LoadW rows[NW];
    each<NW>([&](auto i) { rows[i] = D::load_w(w[i] + k); });
    each<kAhead>([&](auto i) {
      __builtin_prefetch(static_cast<const typename D::Weight*>(next[i]) + k, 0, kSecondCache);
    });
    each<NX>([&](auto j) {
      const auto hidden = D::load_x(x[j] + k);
      each<NW>([&](auto i) { acc[i][j] = D::fma(acc[i][j], rows[i], hidden); });
    });
  }
  if (k < H) {
    const int n = static_cast<int>(H - k);
    each<NW>([&](auto i) {
      const auto row = D::tail_w(w[i] + k, n);
      each<NX>([&](auto j) { acc[i][j] = D::fma(acc[i][j], row, D::tail_x(x[j] + k, n)); });
    });
  }
  each<NX>([&](auto j) {
    const int32_t excess = D::excess(x[j], H);
    if constexpr (NW == 4) {
      const typename D::Acc column[4] = {acc[0][j], acc[1][j], acc[2][j], acc[3][j]};
      D::reduce4(column, excess, out + j * ld);
    } else {
      each<NW>([&](auto i) { out[j * ld + i] = D::reduce(acc[i][j], excess); });
    }
  });
}

template <class D, int NW, int NX>
inline void tile_or_less(
    const typename D::Weight* const* w, const typename D::Hidden* const* x, int nx, int64_t H,
    float* out, int64_t ld, const void* const* next, int ahead) {
  if constexpr (NX > 1) {
    if (nx < NX) {
      return tile_or_less<D, NW, NX - 1>(w, x, nx, H, out, ld, next, ahead);
    }
  }
  switch (ahead) {
    case 0: return tile<D, NW, NX, 0>(w, x, H, out, ld, next);
    case 1: return tile<D, NW, NX, 1>(w, x, H, out, ld, next);
    case 2: return tile<D, NW, NX, 2>(w, x, H, out, ld, next);
    default: return tile<D, NW, NX, D::kMaxW>(w, x, H, out, ld, next);
  }
}

// One group of at most kMaxX hidden rows with all weight rows. `ahead` rows of `next`, from `from`
// on, are fetched on the way through a tile; of single rows by the first group alone.
template <class D>
inline void group(
    const typename D::Weight* const* w, int nw, const typename D::Hidden* const* x, int nx,
    int64_t H, float* out, int64_t ld, const void* const* next, int from, int ahead,
    bool is_first) {
  int i = 0;
  for (; i + D::kMaxW <= nw; i += D::kMaxW) {
    tile_or_less<D, D::kMaxW, D::kMaxX>(
        w + i, x, nx, H, out + i, ld, next + i + from, ahead);
  }
  for (; i < nw; ++i) {
    tile_or_less<D, 1, D::kMaxX>(w + i, x, nx, H, out + i, ld, next + i, is_first && ahead > 0);
  }
}

// Groups of hidden rows outside, words inside: a group stays in the caches while the words' rows
// come from the second one, where the group before, or the block before, has brought them. The rows
// to come are spread over all groups, so that reading goes on under all of the arithmetic.
template <class D>
void dots(
    const void* const* w, int nw, const void* const* x, int nx, int64_t H, float* out, int64_t ld,
    const void* const* next) {
  const auto* rows = reinterpret_cast<const typename D::Weight* const*>(w);
  const auto* hidden = reinterpret_cast<const typename D::Hidden* const*>(x);
  const int groups = (nx + D::kMaxX - 1) / D::kMaxX;
  for (int g = 0; g < groups; ++g) {
    const int j = nx * g / groups, n = nx * (g + 1) / groups - j;  // of about equal size
    const int from = D::kMaxW * g / groups;
    const int ahead = next == nullptr ? 0 : D::kMaxW * (g + 1) / groups - from;
    group<D>(rows, nw, hidden + j, n, H, out + j * ld, ld, next, from, ahead, g == 0);
  }
}
