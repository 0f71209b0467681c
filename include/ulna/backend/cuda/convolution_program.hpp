// SPDX-License-Identifier: MIT
// What a block of each product of the convolution family computes. The same code runs on the device and, over an
// emulated block, in the tests.
#pragma once

#include "ulna/backend/cuda/convolution_main_loop.hpp"
#include "ulna/backend/cuda/convolution_operand.hpp"
#include "ulna/backend/cuda/convolution_plan.hpp"

namespace ulna::cuda {

/// A block's place in the grid.
struct BlockIndex {
  int tile = 0;   ///< of the product: columns first, so that blocks that run together share rows
  int phase = 0;  ///< of those that the launch takes
  int split = 0;  ///< of the summed axis
};

/// Where the sums of a convolution go, and what happens to them on the way.
template <class Out>
struct ConvolutionTarget {
  Tensor<Out> output;
  bool whole_output;
  const float* bias;
  QuickActivation activation;
  float* partial;  ///< if any, each split's sums go here as they are, [split][pixel][partial_pitch]
  int partial_pitch;
  AddedRows<Out> residual;
  bool residual_first;  ///< added before the activation
  Tensor<Out> pooled;   ///< if any, 2x2 maxima of the output; there are no partial sums and no residual then
  bool whole_pooled;

  template <class Tile, class Block, class PerThreadSums>
  ULNA_HOST_DEVICE void add_bias(Block& block, PerThreadSums& sums, int first_column) const {
    if (bias == nullptr || partial != nullptr) return;
    const int columns = output.shape.channels;
    block.each([&](int t) {
      ProductOf<Tile>::type::each_pair(t, sums[t], [&](int, int column, float& x0, float& x1) {
        const int c = first_column + column;
        if (c < columns) x0 += bias[c];
        if (c + 1 < columns) x1 += bias[c + 1];
      });
    });
  }

  /// pixel_of(row): of the batch; negative: none.
  template <class Tile, class Block, class PerThreadSums, class PixelOf>
  ULNA_HOST_DEVICE void store(Block& block, PerThreadSums& sums, int first_column, int split,
                              const PixelOf& pixel_of) const {
    const int columns = output.shape.channels;
    if (partial != nullptr) {
      const std::ptrdiff_t before = std::ptrdiff_t{split} * output.batch * output.pixels();
      const StoreTarget<float> to{partial, first_column, columns, true, {}, partial_pitch};
      store_sums<Tile>(block, sums, to, [&](int row) {
        const std::ptrdiff_t pixel = pixel_of(row);
        return pixel < 0 ? pixel : before + pixel;
      });
    } else {
      StoreTarget<Out> to{output.data, first_column, columns, whole_output, activation, output.pixel_stride, residual};
      if (residual_first) {
        to.activation = {};
        to.added.activation = activation;
      }
      store_sums<Tile>(block, sums, to, pixel_of);
    }
  }
};

/// A convolution or its adjoint: rows are the output pixels of a phase, columns the output channels, terms (tap,
/// channel).
template <class Tile_, bool Whole, class Out>
struct ConvolutionProgram {
  using Tile = Tile_;
  using T = typename Tile::Operand;
  using Product = typename ProductOf<Tile>::type;
  /// Gathering element by element takes more registers.
  static constexpr int resident_blocks = Whole ? Tile::resident_blocks : Tile::resident_blocks - 1;

  Tensor<T> input;
  const T* weight;  ///< [tap][channel][weight_pitch], 16-byte aligned rows
  int weight_pitch;
  Extent kernel;
  PhaseTable phases;
  ConvolutionTarget<Out> to;
  int steps_per_split;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const PhaseWalk& w = phases.walk[index.phase];
    const int rows = input.batch * w.pixels();
    const int first_row = index.tile / column_tiles * Tile::rows;
    const int first_column = index.tile % column_tiles * Tile::columns;
    if (first_row >= rows) return;  // the first phase may have more pixels than this one
    const int channels = input.shape.channels;
    const SplitRange range(ceil_div(w.taps() * channels, Tile::depth), steps_per_split, index.split);

    typename Block::template PerThread<GatherRows<Tile, Whole>> a;
    typename Block::template PerThread<WeightRows<Tile>> b;
    typename Block::template PerThread<typename Product::Sums> sums;
    block.each([&](int t) {
      a[t].begin(input, w, first_row, rows, range.begin * Tile::depth, t);
      b[t].begin(first_column, range.begin * Tile::depth, t);
    });
    // Before the products, registers are free. But those of warpgroups want their sums for themselves.
    if constexpr (!Tile::warpgroups) to.template add_bias<Tile>(block, sums, first_column);
    sum_products<Tile>(block, sums, range.end - range.begin, [&](int t, int stage) {
      a[t].load(block, input, w, t, stage);
      b[t].load(block, weight, weight_pitch, channels, kernel, w, t, stage + Tile::ATile::bytes);
    });
    if constexpr (Tile::warpgroups) to.template add_bias<Tile>(block, sums, first_column);
    to.template store<Tile>(block, sums, first_column, index.split, [&](int row) -> std::ptrdiff_t {
      if (first_row + row >= rows) return -1;
      const PixelPosition q(first_row + row, w.z.count, w.y.count, w.x.count);
      return q.n * to.output.pixels() + output_index(to.output.shape, w, q);
    });
  }
};

/// The gradient of a weight: rows are (tap, channel of the large image), columns channels of the small one, terms the
/// small image's pixels. Each split's sums go to [split][row][partial_pitch].
template <class Tile_, bool Whole>
struct WeightGradientProgram {
  using Tile = Tile_;
  using T = typename Tile::Operand;
  using Product = typename ProductOf<Tile>::type;
  /// Gathering element by element takes more registers.
  static constexpr int resident_blocks = Whole ? Tile::resident_blocks : Tile::resident_blocks - 1;

  Tensor<T> large, small;
  PhaseWalk walk;  ///< of the windows in `large`, one for each pixel of `small`
  float* partial;
  int partial_pitch;
  int steps_per_split;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const PhaseWalk& w = walk;
    const int rows = w.taps() * large.shape.channels;
    const int pixels = small.batch * w.pixels();
    const int first_row = index.tile / column_tiles * Tile::rows;
    const int first_column = index.tile % column_tiles * Tile::columns;
    const SplitRange range(ceil_div(pixels, Tile::depth), steps_per_split, index.split);

    typename Block::template PerThread<GatherColumns<Tile, Whole>> a;
    typename Block::template PerThread<PixelColumns<Tile, Whole>> b;
    typename Block::template PerThread<typename Product::Sums> sums;
    block.each([&](int t) {
      a[t].begin(large, w, first_row, range.begin * Tile::depth, t);
      b[t].begin(first_column, range.begin * Tile::depth, t);
    });
    sum_products<Tile>(block, sums, range.end - range.begin, [&](int t, int stage) {
      a[t].load(block, large, w, t, stage);
      b[t].load(block, small, pixels, t, stage + Tile::ATile::bytes);
    });
    const StoreTarget<float> to{partial, first_column, small.shape.channels, true, {}};
    store_sums<Tile>(block, sums, to, [&](int row) -> std::ptrdiff_t {
      if (first_row + row >= rows) return -1;
      return (std::ptrdiff_t{index.split} * rows + first_row + row) * partial_pitch;
    });
  }
};

}  // namespace ulna::cuda
