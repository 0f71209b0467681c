// SPDX-License-Identifier: MIT
// Convolutions whose operands the copy engine brings (tensor_map.hpp): a tile's rows are a box of pixels, a step is 128
// bytes of channels of one tap. One thread asks for boxes, warpgroups multiply; barriers in shared memory say which
// stages are full and which are empty.
//
// A Block has, besides what others have: start<Stages>(), roles(produce, consume), await_empty(stage, parity),
// expect(stage, bytes), copy_box(stage, offset, map, place), await_full(stage, parity), release(stage). Its threads and
// its barrier() are those of the products.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "ulna/backend/cuda/convolution_hopper.hpp"
#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"
#include "ulna/backend/cuda/tensor_map.hpp"

namespace ulna::cuda {

/// Pixels of an image, or of a phase of one, cut into boxes of `rows` pixels; extents of boxes are powers of two.
struct BoxTiling {
  int width_bits = 0, height_bits = 0, sample_bits = 0;  ///< of a box
  int across = 0, down = 0, deep = 0;                    ///< boxes

  constexpr int boxes() const { return across * down * deep; }
  constexpr int width() const { return 1 << width_bits; }
  constexpr int height() const { return 1 << height_bits; }
  constexpr int samples() const { return 1 << sample_bits; }

  /// As few boxes as can be; of those, of as few samples and as near to square as can be: neighbouring taps then read
  /// the same memory.
  static constexpr BoxTiling of(int rows, int width, int height, int batch) {
    int bits = 0;
    while (1 << bits < rows) ++bits;
    BoxTiling best;
    for (int s = 0; s <= bits; ++s)
      for (int apart = 0; apart <= bits - s; ++apart)
        for (const int sign : {1, -1}) {
          const int w = (bits - s + sign * apart) / 2;
          const int h = bits - s - w;
          if ((bits - s + apart) % 2 != 0 || h < 0 || w < 0) continue;
          const BoxTiling t{w, h, s, ceil_div(width, 1 << w), ceil_div(height, 1 << h), ceil_div(batch, 1 << s)};
          if (best.boxes() == 0 || t.boxes() < best.boxes()) best = t;
        }
    return best;
  }

  struct Place {
    int x, y, n;
  };
  /// Where a box begins.
  constexpr Place place_of(int box) const {
    const int line = box / across;
    const int layer = line / down;
    return {(box - line * across) << width_bits, (line - layer * down) << height_bits, layer << sample_bits};
  }
  /// Whether boxes are made of whole 2x2 windows.
  constexpr bool holds_windows() const { return width_bits > 0 && height_bits > 0; }
  /// The first pixel of a window of a box, from where the box begins.
  constexpr Place window(int i) const {
    const int line = i >> (width_bits - 1);
    return {2 * (i & (width() / 2 - 1)), 2 * (line & (height() / 2 - 1)), line >> (height_bits - 1)};
  }
  /// Number of a pixel in its box: the inverse of pixel().
  constexpr int row_of(const Place& p) const { return (((p.n << height_bits) + p.y) << width_bits) + p.x; }
  /// A pixel of a box, x fastest, from where it begins.
  constexpr Place pixel(int row) const {
    return {row & (width() - 1), row >> width_bits & (height() - 1), row >> (width_bits + height_bits)};
  }
};

/// How a convolution is cut into boxes, where that pays.
struct BoxPlan {
  bool pays = false;
  BoxTiling tiling;
  ProductPlan product;
};

/// Channels of a step.
template <Arithmetic A>
inline constexpr int box_depth = TensorBoxes::row_bytes / static_cast<int>(sizeof(typename OperandOf<A>::type));

namespace detail {

constexpr bool walks_in_boxes(const WindowGeometry& g, const PhaseWalk& w) {
  return g.z.input == 1 && g.z.output == 1 && g.z.kernel == 1 && w.y.step == 1 && w.x.step == 1;
}
constexpr bool wastes(std::int64_t there, std::int64_t done) { return done * 4 > there * 5; }

}  // namespace detail

/// For images and stride 1 (a transposed convolution has it in each phase), in whole chunks. It does not pay where
/// more than a quarter of the work would be on pixels or channels that are not there, nor where tiles are too small for
/// warpgroups.
template <Arithmetic A>
constexpr BoxPlan plan_boxes(const WindowGeometry& g, int batch, int channels, int outputs) {
  constexpr int depth = box_depth<A>;
  BoxPlan plan;
  const PhaseWalk w = walk_phase(g, 0);
  if (!detail::walks_in_boxes(g, w)) return plan;
  plan.tiling = BoxTiling::of(tile_rows, w.x.count, w.y.count, batch);
  const int rows = plan.tiling.boxes() * tile_rows;
  const int terms = most_taps(g) * round_up(channels, depth);
  plan.product = plan_product({rows, outputs, terms, g.phases()}, {depth / 8, true, true});
  plan.pays = !detail::wastes(std::int64_t{batch} * w.pixels(), rows) &&
              !detail::wastes(channels, round_up(channels, depth)) && plan.product.kind >= TileKind::warpgroup_large;
  return plan;
}

/// The same for the gradient of a weight in bf16: floats of matrix instructions cannot lie across the summed axis. Rows
/// of a tile are two runs of 64 channels of the large image, each of one tap.
constexpr BoxPlan plan_gradient_boxes(const WindowGeometry& g, int batch, int large, int small) {
  constexpr int depth = box_depth<Arithmetic::bf16>;
  BoxPlan plan;
  const PhaseWalk w = walk_phase(g, 0);
  if (!detail::walks_in_boxes(g, w) || large % depth != 0) return plan;
  plan.tiling = BoxTiling::of(depth, w.x.count, w.y.count, batch);
  const int terms = plan.tiling.boxes() * depth;
  plan.product = plan_product({g.taps() * large, small, terms}, {8, true, true});
  plan.pays =
      !detail::wastes(std::int64_t{batch} * w.pixels(), terms) && plan.product.kind >= TileKind::warpgroup_large;
  return plan;
}

/// Boxes of pixels, 128 bytes of channels each.
template <class T>
TensorBoxes boxes_of(const Tensor<T>& x, const BoxTiling& t) {
  const auto pixel = static_cast<std::uint64_t>(x.pixel_stride) * sizeof(T);
  const auto size = [](auto n) { return static_cast<std::uint64_t>(n); };
  return {x.data,
          {size(x.shape.channels), size(x.shape.width), size(x.shape.height), size(x.batch)},
          {pixel, pixel * size(x.shape.width), pixel * size(x.pixels())},
          {TensorBoxes::row_bytes / sizeof(T), static_cast<std::uint32_t>(t.width()),
           static_cast<std::uint32_t>(t.height()), static_cast<std::uint32_t>(t.samples())},
          sizeof(T)};
}

/// Boxes of a weight [tap][row][pitch]: 128 bytes of `rows_of_box` rows.
template <class T>
TensorBoxes boxes_of_weight(const T* weight, int taps, int rows, int pitch, int rows_of_box) {
  const auto size = [](auto n) { return static_cast<std::uint64_t>(n); };
  const std::uint64_t row = size(pitch) * sizeof(T);
  return {weight,
          {size(pitch), size(rows), size(taps), 1},
          {row, row * size(rows), row * size(rows) * size(taps)},
          {TensorBoxes::row_bytes / sizeof(T), static_cast<std::uint32_t>(rows_of_box), 1, 1},
          sizeof(T)};
}

/// Stages that are filled and emptied in turn: of step s, stage s % Stages for the (s / Stages)-th time.
template <int Stages>
struct StageOf {
  int stage, round;
  constexpr explicit StageOf(int step) : stage(step % Stages), round(step / Stages) {}
  /// Waiting for the parity of a barrier's round ends when that round is complete. Before the first there is, as it
  /// were, one of parity 1.
  constexpr unsigned full() const { return static_cast<unsigned>(round & 1); }
  constexpr unsigned empty() const { return static_cast<unsigned>(round & 1) ^ 1u; }
};

/// Sums `steps` steps: request(step, stage) asks for the boxes of a step, Tile::stage_bytes in all.
template <class Tile, class Block, class Request>
ULNA_HOST_DEVICE void request_boxes(Block& block, int steps, const Request& request) {
  ULNA_KEEP_LOOP
  for (int step = 0; step < steps; ++step) {
    const StageOf<Tile::stages> at(step);
    block.await_empty(at.stage, at.empty());
    block.expect(at.stage, Tile::stage_bytes);
    request(at.stage, at.stage * Tile::stage_bytes);
  }
}

/// The other side of request_boxes(). A stage is given back when the products that read it are done: one step later.
template <class Tile, class Block, class PerThreadSums>
ULNA_HOST_DEVICE void sum_boxes(Block& block, PerThreadSums& sums, int steps) {
  using Product = typename ProductOf<Tile>::type;
  Product::settle(block, sums);
  ULNA_KEEP_LOOP
  for (int step = 0; step < steps; ++step) {
    const StageOf<Tile::stages> at(step);
    block.await_full(at.stage, at.full());
    Product::add(block, sums, at.stage * Tile::stage_bytes);
    block.template wait_products<1>();
    if (step > 0) block.release(StageOf<Tile::stages>(step - 1).stage);
  }
  Product::finish(block, sums);
  block.barrier();  // shared memory is free
}

/// A tile of terms lies in panels of 64 columns, WarpgroupProduct::panel_bytes apart: one box each.
inline constexpr int panel_columns = box_depth<Arithmetic::bf16>;
template <class Tile>
inline constexpr int column_panels = Tile::columns / panel_columns;

/// A convolution or its adjoint, as ConvolutionProgram. Weights are [tap][channel][output], for floats
/// [tap][output][channel].
template <class Tile_, class Out>
struct BoxConvolutionProgram {
  using Tile = Tile_;
  using Product = typename ProductOf<Tile>::type;
  static constexpr int depth = Tile::depth;
  static_assert(Tile::warpgroups && depth == box_depth<Tile::arithmetic> && Tile::rows == tile_rows);

  TensorMap input, weight;
  BoxTiling tiling;
  int batch, channels;
  Extent kernel;
  PhaseTable phases;
  ConvolutionTarget<Out> to;
  int steps_per_split;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const PhaseWalk& w = phases.walk[index.phase];
    const int box = index.tile / column_tiles;
    const int first_column = (index.tile - box * column_tiles) * Tile::columns;
    const BoxTiling::Place first = tiling.place_of(box);
    if (first.x >= w.x.count || first.y >= w.y.count) return;  // the first phase may have more pixels than this one
    const int groups = ceil_div(channels, depth);
    const SplitRange range(w.taps() * groups, steps_per_split, index.split);
    const int steps = range.end - range.begin;

    block.template start<Tile::stages>();
    const auto produce = [&] {
      TapPosition at(range.begin, groups, w);
      request_boxes<Tile>(block, steps, [&](int stage, int memory) {
        const int c = at.c * depth;
        const int x = first.x + w.x.first_offset + at.jx * w.x.offset_step;
        const int y = first.y + w.y.first_offset + at.jy * w.y.offset_step;
        block.copy_box(stage, memory, input, {c, x, y, first.n});
        const int tap = at.tap(kernel, w);
        if constexpr (Tile::b_major == Major::k) {
          block.copy_box(stage, memory + Tile::ATile::bytes, weight, {c, first_column, tap, 0});
        } else {
          ULNA_UNROLL
          for (int p = 0; p < column_panels<Tile>; ++p)
            block.copy_box(stage, memory + Tile::ATile::bytes + p * Product::panel_bytes, weight,
                           {first_column + p * panel_columns, c, tap, 0});
        }
        at.advance(1, groups, w);
      });
    };
    const auto consume = [&] {
      typename Block::template PerThread<typename Product::Sums> sums;
      sum_boxes<Tile>(block, sums, steps);
      to.template add_bias<Tile>(block, sums, first_column);
      to.template store<Tile>(block, sums, first_column, index.split, [&](int row) -> std::ptrdiff_t {
        const BoxTiling::Place in_box = tiling.pixel(row);
        PixelPosition q;
        q.n = first.n + in_box.n;
        q.y = first.y + in_box.y;
        q.x = first.x + in_box.x;
        if (q.x >= w.x.count || q.y >= w.y.count || q.n >= batch) return -1;
        return q.n * to.output.pixels() + output_index(to.output.shape, w, q);
      });
      if (to.pooled.data != nullptr) store_windows(block, first, first_column);
    };
    block.roles(produce, consume);
  }

 private:
  template <class Block>
  ULNA_HOST_DEVICE void store_windows(Block& block, const BoxTiling::Place& first, int first_column) const {
    const Tensor<Out>& pooled = to.pooled;
    const StoreTarget<Out> target{pooled.data,     first_column, pooled.shape.channels,
                                  to.whole_pooled, {},           pooled.pixel_stride};
    store_pooled<Tile>(block, target, tiling.width(), [&](int i) -> PooledWindow {
      const BoxTiling::Place at = tiling.window(i);
      const int x = (first.x + at.x) / 2;
      const int y = (first.y + at.y) / 2;
      const int n = first.n + at.n;
      if (x >= pooled.shape.width || y >= pooled.shape.height || n >= batch) return {0, -1};
      return {tiling.row_of(at), (std::int64_t{n} * pooled.shape.height + y) * pooled.shape.width + x};
    });
  }
};

/// The gradient of a weight, as WeightGradientProgram. A step is a box of 64 pixels of the small image, and what the
/// window sees there of the large one. Pixels outside are zeros of the small image at least, and add nothing.
template <class Tile_>
struct BoxWeightGradientProgram {
  using Tile = Tile_;
  using Product = typename ProductOf<Tile>::type;
  static constexpr int run = box_depth<Arithmetic::bf16>;  ///< of rows
  static_assert(Tile::warpgroups && Tile::depth == run && Tile::a_major == Major::mn);

  TensorMap large, small;
  BoxTiling tiling;
  PhaseWalk walk;
  int channels, columns;  ///< of the large and of the small image
  float* partial;
  int partial_pitch;
  int steps_per_split;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const PhaseWalk& w = walk;
    const int rows = w.taps() * channels;
    const int first_row = index.tile / column_tiles * Tile::rows;
    const int first_column = index.tile % column_tiles * Tile::columns;
    const SplitRange range(tiling.boxes(), steps_per_split, index.split);
    const int steps = range.end - range.begin;

    block.template start<Tile::stages>();
    const auto produce = [&] {
      TapPosition at[2];
      ULNA_UNROLL
      for (int p = 0; p < 2; ++p) {
        at[p] = TapPosition(first_row + p * run, channels, w);
        if (at[p].inside(w)) continue;
        at[p] = {};
        at[p].c = channels;  // behind the last row: outside the image
      }
      int box = range.begin;
      request_boxes<Tile>(block, steps, [&](int stage, int memory) {
        const BoxTiling::Place first = tiling.place_of(box++);
        ULNA_UNROLL
        for (int p = 0; p < 2; ++p)
          block.copy_box(stage, memory + p * Product::panel_bytes, large,
                         {at[p].c, first.x + w.x.first_offset + at[p].jx * w.x.offset_step,
                          first.y + w.y.first_offset + at[p].jy * w.y.offset_step, first.n});
        ULNA_UNROLL
        for (int p = 0; p < column_panels<Tile>; ++p)
          block.copy_box(stage, memory + Tile::ATile::bytes + p * Product::panel_bytes, small,
                         {first_column + p * panel_columns, first.x, first.y, first.n});
      });
    };
    const auto consume = [&] {
      typename Block::template PerThread<typename Product::Sums> sums;
      sum_boxes<Tile>(block, sums, steps);
      const StoreTarget<float> to{partial, first_column, columns, true, {}};
      store_sums<Tile>(block, sums, to, [&](int row) -> std::ptrdiff_t {
        if (first_row + row >= rows) return -1;
        return (std::ptrdiff_t{index.split} * rows + first_row + row) * partial_pitch;
      });
    };
    block.roles(produce, consume);
  }
};

}  // namespace ulna::cuda
