// SPDX-License-Identifier: MIT
// Index arithmetic, tile schedules and shared-memory layouts of the CUDA backend's convolutions.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "bank_conflicts.hpp"
#include "ulna/backend/cuda/convolution_hopper.hpp"
#include "ulna/backend/cuda/convolution_main_loop.hpp"
#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/cuda/convolution_turned.hpp"
#include "ulna/random.hpp"

using namespace ulna;
using namespace ulna::cuda;

namespace {

/// Every tile that a kernel is made for.
template <class F>
void each_tile(const F& f) {
  const auto kinds = [&]<Arithmetic A, Major M>() {
    f.template operator()<typename TileOf<A, M, TileKind::large>::type>();
    f.template operator()<typename TileOf<A, M, TileKind::medium>::type>();
    f.template operator()<typename TileOf<A, M, TileKind::small>::type>();
  };
  const auto warpgroups = [&]<Major M>() {
    f.template operator()<typename TileOf<Arithmetic::bf16, M, TileKind::warpgroup_large>::type>();
    f.template operator()<typename TileOf<Arithmetic::bf16, M, TileKind::warpgroup_medium>::type>();
    f.template operator()<typename TileOf<Arithmetic::bf16, M, TileKind::warpgroup_small>::type>();
  };
  kinds.template operator()<Arithmetic::exact, Major::k>();
  kinds.template operator()<Arithmetic::exact, Major::mn>();
  kinds.template operator()<Arithmetic::tf32, Major::k>();
  kinds.template operator()<Arithmetic::tf32, Major::mn>();
  kinds.template operator()<Arithmetic::bf16, Major::k>();
  kinds.template operator()<Arithmetic::bf16, Major::mn>();
  warpgroups.template operator()<Major::k>();
  warpgroups.template operator()<Major::mn>();
}

/// A block that notes who stores where.
struct NotedStores {
  std::vector<std::pair<int, int>> stores;  ///< thread, offset
  void store(int thread, int offset, const auto&) { stores.emplace_back(thread, offset); }
};

template <class Layout, int Threads>
void check_layout() {
  using Schedule = CopySchedule<Layout, Threads>;
  std::set<int> places;
  std::set<std::pair<int, int>> chunks;
  for (int t = 0; t < Threads; ++t)
    for (int i = 0; i < Schedule::copies; ++i) {
      chunks.insert({Schedule::row(t, i), Schedule::chunk(t)});
      places.insert(Layout::offset(Schedule::row(t, i), Schedule::chunk(t)));
    }
  CHECK(chunks.size() == static_cast<std::size_t>(Layout::rows * Layout::chunks));  // each chunk is copied once
  CHECK(places.size() == chunks.size());                                            // to a place of its own
  CHECK(*places.begin() == 0);
  CHECK(*places.rbegin() == Layout::bytes - chunk_bytes);
  for (int warp = 0; warp < Threads; warp += warp_size)
    CHECK(conflicts(warp, warp_size, chunk_bytes,
                    [](int t) { return Layout::offset(Schedule::row(t, 0), Schedule::chunk(t)); }) == 1);
}

}  // namespace

TEST_CASE("cuda convolution: the phases of an axis join each output with each input and tap that the window joins") {
  Random r(Seed{41});
  for (int i = 0; i < 400; ++i) {
    AxisGeometry a;
    a.kernel = 1 + r.below(6);
    a.stride = 1 + r.below(5);
    a.dilation = 1 + r.below(4);
    a.pad = r.below(5);
    const int small = 1 + r.below(9);
    const int large = std::max(1, (small - 1) * a.stride + a.dilation * (a.kernel - 1) + 1 - a.pad + r.below(4));
    a.transposed = r.chance(0.6f);
    a.input = a.transposed ? small : large;
    a.output = a.transposed ? large : small;
    std::vector<std::tuple<int, int, int>> expected, found;  // output, input, tap
    for (int s = 0; s < small; ++s)
      for (int t = 0; t < a.kernel; ++t) {
        const int l = s * a.stride + t * a.dilation - a.pad;
        if (within(l, large)) expected.emplace_back(a.transposed ? l : s, a.transposed ? s : l, t);
      }
    int outputs = 0;
    for (int phase = 0; phase < a.phases(); ++phase) {
      const AxisWalk w = a.walk(phase);
      outputs += w.count;
      for (int q = 0; q < w.count; ++q)
        for (int j = 0; j < w.taps; ++j) {
          const int input = q * w.step + w.first_offset + j * w.offset_step;
          if (within(input, a.input)) found.emplace_back(q * w.phases + w.phase, input, w.first_tap + j * w.tap_step);
        }
    }
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    CHECK(found == expected);
    CHECK(outputs == a.output);
  }
}

TEST_CASE("cuda convolution: positions advance to where they would begin") {
  Random r(Seed{42});
  for (int i = 0; i < 200; ++i) {
    const PhaseWalk w{{.taps = 1 + r.below(3)}, {.taps = 1 + r.below(4)}, {.taps = 1 + r.below(4)}};
    const int channels = 1 + r.below(70);
    const int depth = 1 + r.below(3), height = 1 + r.below(9), width = 1 + r.below(9);
    const int from = r.below(200), by = r.below(70);
    TapPosition tap(from, channels, w);
    tap.advance(by, channels, w);
    const TapPosition there(from + by, channels, w);
    CHECK(std::tie(tap.c, tap.jx, tap.jy, tap.jz) == std::tie(there.c, there.jx, there.jy, there.jz));
    CHECK(tap.inside(w) == (from + by < w.taps() * channels));
    PixelPosition pixel(from, depth, height, width);
    pixel.advance(by, depth, height, width);
    const PixelPosition at(from + by, depth, height, width);
    CHECK(std::tie(pixel.n, pixel.z, pixel.y, pixel.x) == std::tie(at.n, at.z, at.y, at.x));
  }
}

TEST_CASE("cuda convolution: tiles are copied whole, to places of their own, without bank conflicts") {
  each_tile([]<class Tile>() {
    check_layout<typename Tile::ATile, Tile::threads>();
    check_layout<typename Tile::BTile, Tile::threads>();
    CHECK(Tile::threads % warp_size == 0);
    CHECK(Tile::shared_bytes <= (Tile::warpgroups ? 227 : 99) * 1024);  // what a block may have
    CHECK(Tile::resident_blocks * (Tile::shared_bytes + 1024) <= (Tile::warpgroups ? 228 : 164) * 1024);
  });
}

TEST_CASE("cuda convolution: fragments are read without bank conflicts") {
  each_tile([]<class Tile>() {
    if constexpr (Tile::arithmetic == Arithmetic::exact) {
      using P = ExactProduct<Tile>;
      for (int warp = 0; warp < Tile::threads; warp += warp_size) {
        for (int i = 0; i < P::rows; i += Tile::a_major == Major::k ? 1 : 4)
          for (int k = 0; k < Tile::depth; k += 4)
            CHECK(conflicts(warp, warp_size, 16, [&](int t) {
                    return Tile::a_major == Major::k ? Tile::ATile::offset(P::row(t, i), k / 4)
                                                     : Tile::ATile::offset(k, P::row(t, i) / 4);
                  }) == 1);
        for (int j = 0; j < P::columns; j += 4)
          CHECK(conflicts(warp, warp_size, 16, [&](int t) { return Tile::BTile::offset(3, P::column(t, j) / 4); }) ==
                1);
      }
    } else if constexpr (!Tile::warpgroups) {
      using P = TensorCoreProduct<Tile>;
      for (int warp = 0; warp < Tile::threads; warp += warp_size)
        for (int k = 0; k < Tile::depth; k += P::step) {
          for (int i = 0; i < P::row_blocks; ++i) {
            if constexpr (P::is_bf16 || Tile::a_major == Major::k)
              CHECK(conflicts(warp, warp_size, 16, [&](int t) { return P::a_matrix_offset(t, i, k); }) == 1);
            else
              for (int word = 0; word < 4; ++word)
                CHECK(conflicts(warp, warp_size, 4, [&](int t) { return P::a_word_offset(t, i, k, word); }) == 1);
          }
          for (int j = 0; j < P::column_blocks; j += 2) {
            if constexpr (P::is_bf16)
              CHECK(conflicts(warp, warp_size, 16, [&](int t) { return P::b_matrix_offset(t, j, k); }) == 1);
            else
              for (int word = 0; word < 2; ++word)
                CHECK(conflicts(warp, warp_size, 4, [&](int t) { return P::b_word_offset(t, j, k, word); }) == 1);
          }
        }
    }
  });
}

TEST_CASE("cuda convolution: operands of warpgroups are turned without bank conflicts, each chunk once") {
  const auto check = []<class Tile>() {
    NotedStores block;
    for (int half = 0; half < 2; ++half)
      for (int t = 0; t < Tile::threads; ++t) {
        TurnedColumns<Tile> columns;
        columns.begin(0, 0, t);
        columns.load({}, 0, t, half);
        columns.store(block, t, 0, half);
      }
    std::set<int> places;
    for (const auto& [thread, offset] : block.stores) places.insert(offset);
    CHECK(places.size() == block.stores.size());
    CHECK(static_cast<int>(places.size()) * chunk_bytes == Tile::BTile::bytes);
    CHECK(*places.rbegin() == Tile::BTile::bytes - chunk_bytes);
    for (std::size_t warp = 0; warp < block.stores.size(); warp += 2 * warp_size)  // two stores of each thread
      for (int j = 0; j < 2; ++j)
        CHECK(conflicts(0, warp_size, chunk_bytes,
                        [&](int t) { return block.stores[warp + static_cast<std::size_t>(t * 2 + j)].second; }) == 1);
    for (int warp = 0; warp < Tile::threads; warp += warp_size)
      for (int k = 0; k < Tile::depth; k += 8)
        for (int word = 0; word < 4; ++word)
          CHECK(conflicts(warp, warp_size, 4,
                          [&](int t) { return TensorCoreProduct<Tile>::a_word_offset(t, 0, k, word); }) == 1);
  };
  check.operator()<typename TileOf<Arithmetic::tf32, Major::mn, TileKind::warpgroup_medium>::type>();
  check.operator()<typename TileOf<Arithmetic::tf32, Major::mn, TileKind::warpgroup_small>::type>();
}

TEST_CASE("cuda convolution: sums are laid out for writing without bank conflicts, each output once") {
  each_tile([]<class Tile>() {
    using P = typename ProductOf<Tile>::type;
    std::vector<std::vector<std::pair<int, int>>> pairs(static_cast<std::size_t>(Tile::threads));
    std::set<std::pair<int, int>> outputs;
    const typename P::Sums sums{};
    for (int t = 0; t < Tile::threads; ++t)
      P::each_pair(t, sums, [&](int row, int column, float, float) {
        pairs[static_cast<std::size_t>(t)].emplace_back(row, column);
        outputs.insert({row, column});
        outputs.insert({row, column + 1});
      });
    CHECK(outputs.size() == static_cast<std::size_t>(Tile::rows * Tile::columns));
    if constexpr (Tile::arithmetic == Arithmetic::exact) return;  // pairs of a quad: two by two
    for (const int size : {4, 2})
      for (int warp = 0; warp < Tile::threads; warp += warp_size)
        for (std::size_t i = 0; i < pairs.front().size(); ++i)
          CHECK(conflicts(warp, warp_size, 2 * size, [&](int t) {
                  const auto [row, column] = pairs[static_cast<std::size_t>(t)][i];
                  return (row * Tile::staging_pitch + column) * size;
                }) == 1);
  });
}

TEST_CASE("cuda convolution: plans cover every output and every term") {
  Random r(Seed{43});
  for (int i = 0; i < 2000; ++i) {
    const ProductSize size{1 + r.below(1 << (4 + r.below(18))), 1 + r.below(1 << (1 + r.below(11))),
                           r.below(1 << (1 + r.below(20))), 1 + r.below(4)};
    const ProductMeans means{r.chance(0.5f) ? 8 : 4, r.chance(0.8f), r.chance(0.4f)};
    const ProductPlan plan = plan_product(size, means);
    CHECK(plan.row_tiles * tile_rows >= size.rows);
    CHECK((plan.row_tiles - 1) * tile_rows < size.rows);
    const int columns = tile_columns(plan.kind);
    CHECK(plan.column_tiles * columns >= size.columns);
    CHECK((plan.column_tiles - 1) * columns < size.columns);
    const int depth = means.vector * (plan.kind >= TileKind::warpgroup_large ? 8 : 4);
    int steps = 0;
    for (int split = 0; split < plan.splits; ++split) {
      const SplitRange range(ceil_div(size.terms, depth), plan.steps_per_split, split);
      CHECK(range.begin == steps);
      CHECK((range.end > range.begin || size.terms == 0));
      steps = range.end;
    }
    CHECK(steps == ceil_div(size.terms, depth));
    CHECK((plan.kind == TileKind::general) == !means.whole);
    CHECK((plan.kind < TileKind::warpgroup_large || means.warpgroups));
  }
}

TEST_CASE("cuda convolution: what the layers of a U-Net of width 64 are cut into") {
  const auto kind = [](int pixels, int in, int out, bool warpgroups) {
    return plan_product({pixels, out, 9 * in}, {8, in % 8 == 0, warpgroups});
  };
  CHECK(kind(512 * 512, 1, 64, false).kind == TileKind::general);
  CHECK(kind(512 * 512, 64, 64, false).kind == TileKind::medium);
  CHECK(kind(256 * 256, 64, 128, false).kind == TileKind::large);
  CHECK(kind(512 * 512, 64, 64, true).kind == TileKind::warpgroup_small);
  CHECK(kind(256 * 256, 128, 128, true).kind == TileKind::warpgroup_medium);
  CHECK(kind(128 * 128, 256, 256, true).kind == TileKind::warpgroup_large);
  // the deepest layer of one image has too few tiles to keep a device busy: its sums are split
  const ProductPlan deepest = kind(32 * 32, 1024, 1024, true);
  CHECK(deepest.kind == TileKind::warpgroup_medium);
  CHECK(deepest.tiles() * deepest.splits == 128);
  const ProductPlan gradient = plan_product({9 * 256, 256, 16 * 128 * 128}, {8, true, true});
  CHECK(gradient.kind == TileKind::warpgroup_large);
  CHECK(gradient.tiles() * gradient.splits >= 128);
  CHECK(plan_product({64, 2, 512 * 512}, {8, true, false}).splits >= 128);  // a weight gradient of few channels
}
