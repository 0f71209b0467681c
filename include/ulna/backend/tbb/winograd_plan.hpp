// SPDX-License-Identifier: MIT
// Which convolutions run as Winograd's, and how they are cut into tasks and blocks: sizes only, no data.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/winograd_transform.hpp"
#include "ulna/backend/tbb/winograd_weights.hpp"
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

/// A map smaller than this wastes most of a tile. (Where images are tiled at all, tiles have more pixels than this at
/// every level, since they advance by multiples of the grid and overlap: the rule cannot separate a tile from the
/// whole.)
inline constexpr int least_extent = 4;

/// True if this call of a convolution, of its adjoint or of its weight gradient runs as Winograd.
template <class T>
bool chosen(const Call<T>& call) {
  const Node& n = *call.node;
  const bool gradient = n.op == Op::convolution_weight_gradient;
  const Shape& written = gradient ? call.input[1].shape : call.output.shape;
  return suits(n.window, call.input[0].shape.channels, written.channels) && written.height >= least_extent &&
         written.width >= least_extent;
}

/// Whether a map is computed faster by F6 than by F4. For each pair of channels there are `products` multiply-adds a
/// tile, and transforming the weights costs as much as some 230 of them to read the taps and 5 for each point
/// (measured). Of a batch only the first map counts: its results are then the same in any batch.
constexpr bool larger_tiles_win(const Shape& written) {
  const auto cost = [&]<class F>(F) {
    const auto tiles = [](int extent) { return std::int64_t{extent + F::outputs - 1} / F::outputs; };
    return tiles(written.height) * tiles(written.width) * F::products + 230 + 5 * F::products;
  };
  return cost(F6{}) < cost(F4{});
}
static_assert(larger_tiles_win({.channels = 1, .depth = 1, .height = 64, .width = 64}) &&
              !larger_tiles_win({.channels = 1, .depth = 1, .height = 32, .width = 32}));

/// The pixels of an axis that the bits of output pixels `out` depend on, in a map whose tiles start at multiples of
/// their outputs. Of the pixels that a tile reads, all outputs but the last ignore the last, and the last ignores the
/// first; they see all others, whose shares cancel in exact arithmetic only.
template <class F>
constexpr Interval reach(int pad_before, Interval out) {
  constexpr int outputs = F::outputs;
  constexpr int points = F::points;
  const int first = floor_div(out.low, outputs) * outputs;
  const int last = floor_div(out.high, outputs) * outputs;
  return {first - pad_before + (out.low - first == outputs - 1 ? 1 : 0),
          last - pad_before + (out.high - last == outputs - 1 ? points - 1 : points - 2), out.bounded};
}

/// What the bits of a network's outputs depend on where convolutions run as Winograd's by F: see WindowFootprint.
template <class F>
struct Footprint {
  static constexpr int grid(const Node& n, int in_channels) { return transforms(n, in_channels) ? F::outputs : 1; }
  static constexpr Interval reach(const Node& n, int in_channels, Axis axis, Interval out) {
    if (!transforms(n, in_channels) || axis == Axis::depth) return WindowFootprint::reach(n, in_channels, axis, out);
    const int pad = along(n.window, axis).pad_before;
    return winograd::reach<F>(n.op == Op::transposed_convolution ? taps - 1 - pad : pad, out);
  }

 private:
  static constexpr bool transforms(const Node& n, int in_channels) {
    const bool convolves = n.op == Op::convolution || n.op == Op::transposed_convolution;
    return convolves && suits(n.window, in_channels, n.shape.channels);
  }
};

/// Floats from one of the products' planes to the next: an odd number of cache lines, so that the planes of a tile do
/// not compete for the same sets of the cache.
constexpr std::ptrdiff_t plane_floats(std::ptrdiff_t needed) { return ((needed + 15) / 16 | 1) * 16; }

/// The grid of tiles of F over a batch of maps, n = F::outputs apart. Tile (i, j) writes the n x n pixels from
/// (n i, n j) on and reads those from (n i + low_y, n j + low_x) on, zeros outside.
template <class F>
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
        rows((written_.height + F::outputs - 1) / F::outputs),
        columns((written_.width + F::outputs - 1) / F::outputs) {}

  std::ptrdiff_t tiles(int batch) const { return std::ptrdiff_t{batch} * rows * columns; }

  /// Calls f(i, sample, row, column) for tile `first` + i of the batch, for every i < count.
  template <class Visit>
  void for_each_tile(std::ptrdiff_t first, int count, const Visit& f) const {
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

/// A task takes a range of tiles and one block of output channels. In one of two ways:
///
/// - One or two blocks of outputs: a task transforms its inputs itself, in low blocks of tiles, whose inputs, products
///   and outputs stay in the second-level cache (1 MiB and more); to these the weights of all channels, transformed
///   once a task, stream from the third level.
/// - More blocks of outputs, as deep in a network: inputs are transformed once for all of them (`shares_inputs`), in
///   rounds of as many tiles as memory is meant for. A task then transforms each block of weights right before its only
///   use.
template <class Isa, class F>
struct Plan {
  static constexpr int W = Isa::width;
  static constexpr int products = F::products;
  static constexpr int most_channels = 64;
  static constexpr int least_block = 24 * 36 / products / 12 * 12;  ///< tiles; a multiple of a register block's rows
  static constexpr int high_block = 72 * 36 / products / 12 * 12;   ///< of all tiles, which then are one block
  static constexpr int most_tiles = 144;                            ///< of a task that shares inputs
  static constexpr std::ptrdiff_t most_kept = 4 * 1024 * 1024;      ///< floats of transformed weights, of each thread
  static constexpr std::ptrdiff_t most_shared = 11 * 256 * 1024;    ///< floats of transformed inputs: 11 MiB

  /// Outputs and tiles of a block: the more outputs, the less often are inputs transformed, as long as their weights
  /// leave room; the more tiles, the less often do the weights of many channels stream.
  static constexpr int most_outputs(int channels) { return channels < 256 ? 128 : 64; }
  static constexpr int low_block(int channels) { return channels < 256 ? least_block : 2 * least_block; }

  Grid<F> grid;
  bool flipped;  ///< the adjoint is a convolution with the taps in reverse
  int batch, channels, outputs;
  int channel_block, channel_stride;  ///< the stride in whole vectors
  int channel_blocks;
  int output_block;  ///< in whole vectors
  bool shares_inputs;
  int round_tiles;  ///< all, unless inputs are shared
  int tile_block;
  bool keeps_weights;  ///< of all channel blocks, for all tiles of a task
  std::ptrdiff_t weight_plane, input_plane, product_plane;

  template <class T>
  explicit Plan(const Call<T>& call) {
    const Window& w = call.node->window;
    flipped = call.node->op == Op::transposed_convolution;
    const auto low = [&](int pad) { return flipped ? pad - (taps - 1) : -pad; };
    grid = {call.input[0].shape, call.output.shape, low(w.pad_before.height), low(w.pad_before.width)};
    batch = call.batch;
    channels = grid.read.channels;
    outputs = grid.written.channels;
    const int blocks = (channels + most_channels - 1) / most_channels;
    channel_block = blocks == 1 ? channels : ((channels + blocks - 1) / blocks + 15) / 16 * 16;
    channel_blocks = (channels + channel_block - 1) / channel_block;
    channel_stride = (channel_block + W - 1) / W * W;
    cut_into_blocks();
    weight_plane = plane_floats(std::ptrdiff_t{channel_block} * output_block);
    keeps_weights = channel_blocks == 1 ||
                    (!shares_inputs && tiles() > high_block && channel_blocks * products * weight_plane <= most_kept);
    input_plane = plane_floats(std::ptrdiff_t{shares_inputs ? round_tiles : tile_block} * channel_stride);
    product_plane = plane_floats(std::ptrdiff_t{tile_block} * output_block);
  }

  std::ptrdiff_t tiles() const { return grid.tiles(batch); }
  int output_blocks() const { return (outputs + output_block - 1) / output_block; }
  int rounds() const { return static_cast<int>((tiles() + round_tiles - 1) / round_tiles); }

  std::size_t weight_bytes() const { return floats((keeps_weights ? channel_blocks : 1) * products * weight_plane); }
  std::size_t input_bytes() const { return shares_inputs ? 0 : floats(products * input_plane); }
  std::size_t product_bytes() const { return floats(products * product_plane); }
  std::size_t patch_bytes() const { return floats(std::ptrdiff_t{products} * channel_stride); }
  std::size_t taps_bytes() const {
    return floats(std::ptrdiff_t{taps * taps} * WeightReader<Isa, F>::rows * output_block);
  }
  std::size_t thread_bytes() const {
    return weight_bytes() + input_bytes() + product_bytes() + patch_bytes() + taps_bytes();
  }
  /// [block of channels][point][tile][channel], for all threads.
  std::size_t shared_bytes() const { return shares_inputs ? floats(channel_blocks * products * input_plane) : 0; }

  /// Enough groups of tiles to keep the threads busy, each long enough to pay for transforming its weights, but where a
  /// thread would have none; as many tasks for each thread. Any number gives the same results.
  int groups(std::ptrdiff_t tiles_at_hand, int threads) const {
    const auto per_block = [&](int tasks) { return std::ptrdiff_t{(tasks + output_blocks() - 1) / output_blocks()}; };
    const std::ptrdiff_t paying = std::min(per_block(8 * threads), tiles_at_hand / 64);
    const std::ptrdiff_t needed = std::min(per_block(threads), tiles_at_hand / 12);
    const std::ptrdiff_t least = shares_inputs ? (tiles_at_hand + tile_block - 1) / tile_block : 1;
    const std::ptrdiff_t groups = std::clamp(std::max(paying, needed), least, tiles_at_hand);
    for (std::ptrdiff_t more = groups; more < std::min(groups + threads, tiles_at_hand); ++more)
      if (more * output_blocks() % threads == 0) return static_cast<int>(more);
    return static_cast<int>(groups);
  }

 private:
  void cut_into_blocks() {
    const auto whole_vectors = (outputs + W - 1) / W * W;
    const bool one_block = tiles() <= high_block;
    output_block = std::min(whole_vectors, one_block ? 64 : most_outputs(channels));
    shares_inputs = output_blocks() > 2;
    if (shares_inputs) {
      const std::ptrdiff_t of_a_tile = std::ptrdiff_t{products} * channel_blocks * channel_stride;
      const std::ptrdiff_t room = std::max<std::ptrdiff_t>(most_shared / of_a_tile, 1);
      const std::ptrdiff_t rounds = (tiles() + room - 1) / room;
      round_tiles = static_cast<int>((tiles() + rounds - 1) / rounds);
      tile_block = std::min(round_tiles, most_tiles);
    } else {
      round_tiles = static_cast<int>(tiles());
      tile_block = one_block ? round_tiles : low_block(channels);
    }
  }

  static std::size_t floats(std::ptrdiff_t n) {
    return tbb_kernels::aligned_bytes(static_cast<std::size_t>(n) * sizeof(float));
  }
};

}  // namespace ulna::winograd
