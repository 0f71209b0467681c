// SPDX-License-Identifier: MIT
// Which tiles a product is cut into, and into how many parts its sums are split: functions of the shape, the strides
// and whether the device multiplies by warpgroups. How many multiprocessors it has changes no result. How many pixels
// there are does, where sums are split, or come in boxes (convolution_box.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ulna/backend/cuda/convolution_geometry.hpp"
#include "ulna/backend/cuda/convolution_tile.hpp"

namespace ulna::cuda {

/// Block tiles of 128 rows by 128, 64 or 32 columns; `general` is the medium one, gathering element by element.
/// Those of warpgroups have 256, 128 or 64 columns.
enum class TileKind : std::uint8_t {
  large,
  medium,
  small,
  general,
  warpgroup_large,
  warpgroup_medium,
  warpgroup_small
};

constexpr int tile_columns(TileKind kind) {
  switch (kind) {
    case TileKind::warpgroup_large:
      return 256;
    case TileKind::large:
    case TileKind::warpgroup_medium:
      return 128;
    case TileKind::small:
      return 32;
    default:
      return 64;
  }
}

template <Arithmetic A, Major AMajor, TileKind Kind>
struct TileOf {
  static constexpr int columns = tile_columns(Kind);
  static constexpr bool is_exact = A == Arithmetic::exact;
  static constexpr int warp_rows = is_exact || Kind == TileKind::small ? 32 : 64;
  static constexpr int warp_columns = is_exact && Kind != TileKind::small ? 64 : 32;
  using type = std::conditional_t<(Kind >= TileKind::warpgroup_large),
                                  BlockTile<is_exact ? Arithmetic::bf16 : A, AMajor, 128, columns, 16, columns, 128,
                                            Kind == TileKind::warpgroup_medium ? 3 : 4, true>,
                                  BlockTile<A, AMajor, 128, columns, warp_rows, warp_columns, 64, 4>>;
};

inline constexpr int tile_rows = 128;

/// A product of `rows` x `columns` outputs with `terms` terms each, `phases` times.
struct ProductSize {
  int rows = 0;
  int columns = 0;
  int terms = 0;
  int phases = 1;
};

/// What the operands and the device allow.
struct ProductMeans {
  int vector = 8;           ///< elements of a chunk
  bool whole = true;        ///< chunks can be copied in one piece
  bool warpgroups = false;  ///< the device multiplies by warpgroups
  bool split = true;        ///< sums may be split
  bool turned = false;      ///< operands of warpgroups pass through registers, which are wanted for wide tiles
};

/// How a product is cut.
struct ProductPlan {
  TileKind kind = TileKind::medium;
  int row_tiles = 0;
  int column_tiles = 0;
  int phases = 1;
  int splits = 1;
  int steps_per_split = 1;

  constexpr int tiles() const { return row_tiles * column_tiles; }
};

/// Steps [begin, end) of the summed axis, in equal parts but for the last.
struct SplitRange {
  int begin, end;
  constexpr SplitRange(int steps, int steps_per_split, int split)
      : begin(split * steps_per_split < steps ? split * steps_per_split : steps),
        end(begin + steps_per_split < steps ? begin + steps_per_split : steps) {}
};

inline constexpr int enough_blocks = 128;  ///< about as many as large devices have multiprocessors
inline constexpr int least_split = 256;    ///< terms: fewer would not pay for filling the pipeline
inline constexpr int cheap_split = 4096;   ///< terms: so many cost much more than writing and reading their sum

namespace detail {

/// Of `kinds`, widest first, the first that wastes no more columns than the last and keeps enough blocks, by cheap
/// splits if need be: wide tiles read each operand less often.
template <int N>
constexpr TileKind widest_fitting(const TileKind (&kinds)[N], const ProductSize& size, int most_columns = 256) {
  const std::int64_t row_blocks =
      std::int64_t{ceil_div(size.rows, tile_rows)} * size.phases * std::max(size.terms / cheap_split, 1);
  for (int i = 0; i + 1 < N; ++i) {
    const int columns = tile_columns(kinds[i]);
    if (columns > most_columns) continue;
    const int tiles = ceil_div(size.columns, columns);
    if (round_up(size.columns, tile_columns(kinds[N - 1])) == tiles * columns && row_blocks * tiles >= enough_blocks)
      return kinds[i];
  }
  return kinds[N - 1];
}

}  // namespace detail

constexpr ProductPlan plan_product(const ProductSize& size, const ProductMeans& means) {
  constexpr TileKind warps[] = {TileKind::large, TileKind::medium};
  constexpr TileKind warpgroups[] = {TileKind::warpgroup_large, TileKind::warpgroup_medium, TileKind::warpgroup_small};
  ProductPlan plan;
  plan.phases = size.phases;
  plan.kind = !means.whole         ? TileKind::general
              : size.columns <= 32 ? TileKind::small
              : means.warpgroups && size.terms >= 64
                  ? detail::widest_fitting(warpgroups, size, means.turned ? 128 : 256)
                  : detail::widest_fitting(warps, size);
  plan.row_tiles = ceil_div(size.rows, tile_rows);
  plan.column_tiles = ceil_div(size.columns, tile_columns(plan.kind));
  const int depth = means.vector * (plan.kind >= TileKind::warpgroup_large ? 8 : 4);
  const int steps = ceil_div(size.terms, depth);
  const int blocks = std::max(plan.tiles() * size.phases, 1);
  // two blocks of warps hide each other's waiting; products of warpgroups wait for nothing, unless operands are turned
  const int wave = plan.kind >= TileKind::warpgroup_large && !means.turned ? enough_blocks : 2 * enough_blocks;
  const int wanted = blocks >= enough_blocks ? 1 : ceil_div(wave, blocks);
  const int splits = means.split ? std::clamp(wanted, 1, std::max(size.terms / least_split, 1)) : 1;
  plan.steps_per_split = std::max(ceil_div(steps, splits), 1);
  plan.splits = std::max(ceil_div(steps, plan.steps_per_split), 1);
  return plan;
}

}  // namespace ulna::cuda
