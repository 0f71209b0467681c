// SPDX-License-Identifier: MIT
// Which tiles a product is cut into, and into how many parts its sums are split: functions of the shape alone, so that
// results are the same bits on every device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ulna/backend/cuda/convolution_geometry.hpp"
#include "ulna/backend/cuda/convolution_tile.hpp"

namespace ulna::cuda {

/// Block tiles of 128 rows by 128, 64 or 32 columns; `general` is the medium one, gathering element by element.
enum class TileKind : std::uint8_t { large, medium, small, general };

template <Arithmetic A, Major AMajor, TileKind Kind>
struct TileOf {
  static constexpr int columns = Kind == TileKind::large ? 128 : Kind == TileKind::small ? 32 : 64;
  static constexpr bool exact = A == Arithmetic::exact;
  static constexpr int warp_rows = exact || Kind == TileKind::small ? 32 : 64;
  static constexpr int warp_columns = exact && Kind != TileKind::small ? 64 : 32;
  using type = BlockTile<A, AMajor, 128, columns, warp_rows, warp_columns, 64, 4>;
};

inline constexpr int tile_rows = 128;
constexpr int tile_columns(TileKind kind) {
  return kind == TileKind::large ? 128 : kind == TileKind::small ? 32 : 64;
}

/// A product of `rows` x `columns` outputs with `steps` steps of the summed axis, `phases` times.
struct ProductSize {
  int rows = 0;
  int columns = 0;
  int steps = 0;
  int phases = 1;
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

inline constexpr int enough_blocks = 128;  ///< about as many as large devices have multiprocessors
inline constexpr int least_steps = 8;      ///< of a split: fewer would not pay for filling the pipeline

constexpr ProductPlan plan_product(const ProductSize& size, bool whole) {
  const auto cut = [&](TileKind kind) {
    return ProductPlan{kind, ceil_div(size.rows, tile_rows), ceil_div(size.columns, tile_columns(kind)), size.phases};
  };
  ProductPlan plan = cut(TileKind::medium);
  if (!whole) {
    plan.kind = TileKind::general;
  } else if (size.columns <= 32) {
    plan = cut(TileKind::small);
  } else if (size.columns > 64 && (size.columns % 128 == 0 || size.columns % 128 > 64)) {
    const ProductPlan large = cut(TileKind::large);
    if (large.tiles() * size.phases >= enough_blocks || plan.tiles() * size.phases >= 4 * enough_blocks) plan = large;
  }
  const int blocks = std::max(plan.tiles() * size.phases, 1);
  const int wanted = blocks >= enough_blocks ? 1 : ceil_div(2 * enough_blocks, blocks);
  const int splits = std::clamp(wanted, 1, std::max(size.steps / least_steps, 1));
  plan.steps_per_split = std::max(ceil_div(size.steps, splits), 1);
  plan.splits = std::max(ceil_div(size.steps, plan.steps_per_split), 1);
  return plan;
}

}  // namespace ulna::cuda
