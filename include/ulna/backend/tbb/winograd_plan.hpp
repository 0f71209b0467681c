// SPDX-License-Identifier: MIT
// Which convolutions run as Winograd's F(4x4, 3x3), and how they are cut into tasks and blocks: sizes only, no data.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/winograd_transform.hpp"
#include "ulna/backend/tensor.hpp"
#include "ulna/graph/analyse.hpp"

namespace ulna::winograd {

/// Channels from which on the transforms cost less than they save.
inline constexpr int least_channels = 16;

/// True if the window and the channels suit Winograd. What decides must be the same in a tile of an image and in the
/// whole image, or their bits would differ: so neither extents nor the batch count here.
constexpr bool suits(const Window& w, int in, int out) {
  const Window plain = window2d(taps);
  return w.kernel == plain.kernel && w.stride == plain.stride && w.dilation == plain.dilation &&
         w.border == Border::zero && in >= least_channels && out >= least_channels;
}

/// A map smaller than one tile wastes it. (Where images are tiled at all, tiles have more pixels than this at every
/// level, since they advance by multiples of the grid and overlap: the rule cannot separate a tile from the whole.)
constexpr bool fills_a_tile(const Shape& s) { return s.height >= outputs && s.width >= outputs; }

/// True if this call of a convolution, of its adjoint or of its weight gradient runs as Winograd.
template <class T>
bool chosen(const Call<T>& call) {
  const Node& n = *call.node;
  const bool gradient = n.op == Op::convolution_weight_gradient;
  const Shape& written = gradient ? call.input[1].shape : call.output.shape;
  return suits(n.window, call.input[0].shape.channels, written.channels) && fills_a_tile(written);
}

/// The pixels of an axis that the bits of output pixels `out` depend on, in a map whose tiles start at multiples of 4.
/// Of the six that a tile reads, its first three outputs ignore the last, and its fourth the first; all see the others,
/// whose shares cancel in exact arithmetic only.
constexpr Interval reach(int pad_before, Interval out) {
  const int first = floor_div(out.low, outputs) * outputs;
  const int last = floor_div(out.high, outputs) * outputs;
  return {first - pad_before + (out.low - first == outputs - 1 ? 1 : 0),
          last - pad_before + (out.high - last == outputs - 1 ? points - 1 : points - 2), out.bounded};
}

/// What the bits of a network's outputs depend on where convolutions run as Winograd: see WindowFootprint.
struct Footprint {
  static constexpr int grid(const Node& n, int in_channels) { return transforms(n, in_channels) ? outputs : 1; }
  static constexpr Interval reach(const Node& n, int in_channels, Axis axis, Interval out) {
    if (!transforms(n, in_channels) || axis == Axis::depth) return WindowFootprint::reach(n, in_channels, axis, out);
    const int pad = along(n.window, axis).pad_before;
    return winograd::reach(n.op == Op::transposed_convolution ? taps - 1 - pad : pad, out);
  }

 private:
  static constexpr bool transforms(const Node& n, int in_channels) {
    const bool convolves = n.op == Op::convolution || n.op == Op::transposed_convolution;
    return convolves && suits(n.window, in_channels, n.shape.channels);
  }
};

/// Floats from one of the products' planes to the next: an odd number of cache lines, so that the 36 planes of a tile
/// do not compete for the same sets of the cache.
constexpr std::ptrdiff_t plane_floats(std::ptrdiff_t needed) { return ((needed + 15) / 16 | 1) * 16; }

/// The grid of tiles over a batch of maps. Tile (i, j) writes the 4 x 4 pixels from (4 i, 4 j) on and reads the 6 x 6
/// from (4 i + low_y, 4 j + low_x) on, zeros outside.
struct Grid {
  Shape read, written;
  int low_y = 0, low_x = 0;
  int rows = 0, columns = 0;

  Grid() = default;
  Grid(const Shape& read_, const Shape& written_, int low_y_, int low_x_)
      : read(read_),
        written(written_),
        low_y(low_y_),
        low_x(low_x_),
        rows((written_.height + outputs - 1) / outputs),
        columns((written_.width + outputs - 1) / outputs) {}

  std::ptrdiff_t tiles(int batch) const { return std::ptrdiff_t{batch} * rows * columns; }

  /// Calls f(i, sample, row, column) for tile `first` + i of the batch, for every i < count.
  template <class F>
  void for_each_tile(std::ptrdiff_t first, int count, const F& f) const {
    int column = static_cast<int>(first % columns);
    int row = static_cast<int>(first / columns % rows);
    int sample = static_cast<int>(first / columns / rows);
    for (int i = 0; i < count; ++i) {
      f(i, sample, row, column);
      if (++column < columns) continue;
      column = 0;
      if (++row < rows) continue;
      row = 0;
      ++sample;
    }
  }
};

/// A task takes a range of tiles and one block of output channels.
///
/// What the products of a block of tiles read and write must stay in the second-level cache (1 MiB and more), and each
/// weight is transformed once a task. So tiles come in low blocks, to which the transformed weights of all channels
/// stream from the third level. Where one block holds all tiles, nothing is read again: it is high, and weights are
/// transformed right before their only use.
template <class Isa>
struct Plan {
  static constexpr int W = Isa::width;
  static constexpr int most_channels = 64;
  static constexpr int low_block = 24;  ///< tiles; both are multiples of every register block
  static constexpr int high_block = 72;
  static constexpr int weight_rows = 16;                        ///< channels whose taps are gathered at a time
  static constexpr std::ptrdiff_t most_kept = 4 * 1024 * 1024;  ///< floats of transformed weights, of each thread

  /// Outputs of a block: the more, the less often are inputs transformed, as long as their weights leave room.
  static constexpr int most_outputs(int channels) { return channels <= 256 ? 128 : 64; }

  Grid grid;
  bool flipped;  ///< the adjoint is a convolution with the taps in reverse
  int batch, channels, outputs;
  int channel_block, channel_stride;  ///< the stride in whole vectors
  int output_block;                   ///< in whole vectors
  int tile_block;
  int channel_blocks;
  bool keeps_weights;  ///< of all channel blocks, for all tiles of a task
  std::ptrdiff_t weight_plane, input_plane, product_plane;

  template <class T>
  explicit Plan(const Call<T>& call) {
    const Window& w = call.node->window;
    flipped = call.node->op == Op::transposed_convolution;
    const auto low = [&](int pad) { return flipped ? pad - (taps - 1) : -pad; };
    grid = Grid(call.input[0].shape, call.output.shape, low(w.pad_before.height), low(w.pad_before.width));
    batch = call.batch;
    channels = grid.read.channels;
    outputs = grid.written.channels;
    const bool one_block = tiles() <= high_block;
    const int blocks = (channels + most_channels - 1) / most_channels;
    channel_block = blocks == 1 ? channels : ((channels + blocks - 1) / blocks + 15) / 16 * 16;
    channel_blocks = (channels + channel_block - 1) / channel_block;
    channel_stride = (channel_block + W - 1) / W * W;
    output_block = std::min((outputs + W - 1) / W * W, one_block ? 64 : most_outputs(channels));
    tile_block = one_block ? static_cast<int>(tiles()) : low_block;
    weight_plane = plane_floats(std::ptrdiff_t{channel_block} * output_block);
    keeps_weights = channel_blocks == 1 || (!one_block && channel_blocks * products * weight_plane <= most_kept);
    input_plane = plane_floats(std::ptrdiff_t{tile_block} * channel_stride);
    product_plane = plane_floats(std::ptrdiff_t{tile_block} * output_block);
  }

  std::ptrdiff_t tiles() const { return grid.tiles(batch); }
  int output_blocks() const { return (outputs + output_block - 1) / output_block; }

  std::size_t weight_bytes() const { return floats((keeps_weights ? channel_blocks : 1) * products * weight_plane); }
  std::size_t input_bytes() const { return floats(products * input_plane); }
  std::size_t product_bytes() const { return floats(products * product_plane); }
  std::size_t patch_bytes() const { return floats(std::ptrdiff_t{products} * channel_stride); }
  std::size_t taps_bytes() const { return floats(std::ptrdiff_t{taps * taps} * weight_rows * output_block); }
  std::size_t thread_bytes() const {
    return weight_bytes() + input_bytes() + product_bytes() + patch_bytes() + taps_bytes();
  }

  /// Enough groups of tiles to keep the threads busy, each long enough to pay for transforming its weights. Any number
  /// gives the same results.
  int groups(int threads) const {
    const std::ptrdiff_t wanted = (8 * threads + output_blocks() - 1) / output_blocks();
    return static_cast<int>(std::clamp<std::ptrdiff_t>(std::min(wanted, tiles() / 64), 1, tiles()));
  }

 private:
  static std::size_t floats(std::ptrdiff_t n) {
    return tbb_kernels::aligned_bytes(static_cast<std::size_t>(n) * sizeof(float));
  }
};

}  // namespace ulna::winograd
