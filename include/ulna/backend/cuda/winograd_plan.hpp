// SPDX-License-Identifier: MIT
// Which convolutions of floats run as Winograd's F(4x4, 3x3) (backend/winograd.hpp) on a device, and into which bands
// of tiles they are cut: functions of shapes alone.
//
// Exact floats are multiplied outside of the tensor cores, at a rate that convolutions reach. A quarter of the products
// is worth some traffic: inputs, products and outputs of the transforms pass through memory once each way.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ulna/backend/cuda/convolution_plan.hpp"
#include "ulna/backend/tensor.hpp"
#include "ulna/backend/winograd.hpp"

namespace ulna::cuda {

/// The grid of tiles over a batch of images. Tile (y, x) writes the 4 x 4 pixels from (4 y, 4 x) on and reads the 6 x 6
/// from (4 y + low_y, 4 x + low_x) on, zeros outside.
struct WinogradTiles {
  int low_y = 0, low_x = 0;
  int down = 0, across = 0;

  struct Place {
    int n, y, x;
  };
  constexpr Place place_of(int tile) const {
    const int row = tile / across;
    const int n = row / down;
    return {n, row - n * down, tile - row * across};
  }
  constexpr int of_a_sample() const { return down * across; }

  /// Of a convolution, or of its adjoint: a convolution with the taps in reverse.
  static constexpr WinogradTiles of(const Node& n, const Shape& written) {
    const auto low = [&](int pad) { return n.op == Op::transposed_convolution ? pad - (winograd::taps - 1) : -pad; };
    return {low(n.window.pad_before.height), low(n.window.pad_before.width),
            ceil_div(written.height, winograd::F4::outputs), ceil_div(written.width, winograd::F4::outputs)};
  }
};

/// What is transformed and multiplied.
struct WinogradSize {
  int channels = 0, outputs = 0;
  int tiles = 0;

  constexpr int channel_pitch() const { return round_up(channels, 4); }
  constexpr int output_pitch() const { return round_up(outputs, 4); }
  /// Floats of the weight, and of what lies between the transforms for a tile.
  constexpr std::int64_t weight() const { return std::int64_t{winograd::F4::products} * channels * output_pitch(); }
  constexpr std::int64_t of_a_tile() const { return winograd::F4::products * (channel_pitch() + output_pitch()); }
};

/// The rates of an H100: of the devices with many multiplying units, the one with the least to gain. Any device takes
/// the same way, so that all give the same bits.
namespace rates {
inline constexpr double multiply_adds = 33.5e12;  ///< of floats, a second
inline constexpr double bytes = 3e12;             ///< of memory, a second
inline constexpr double launch = 3e-6;            ///< seconds from the end of a kernel to the next one's full speed
inline constexpr int multiprocessors = 132;
}  // namespace rates

/// Tiles are worked off in bands, one after another in the same memory.
struct WinogradPlan {
  TileKind kind = TileKind::large;
  int band = 0;          ///< tiles
  int column_tiles = 0;  ///< of a product

  constexpr int row_tiles(int tiles) const { return ceil_div(tiles, tile_rows); }
  /// Blocks of products at a time.
  constexpr int wave() const {
    constexpr int large = TileOf<Arithmetic::exact, Major::k, TileKind::large>::type::resident_blocks;
    constexpr int medium = TileOf<Arithmetic::exact, Major::k, TileKind::medium>::type::resident_blocks;
    return rates::multiprocessors * (kind == TileKind::large ? large : medium);
  }
  constexpr int waves(int tiles) const {
    return ceil_div(winograd::F4::products * row_tiles(tiles) * column_tiles, wave());
  }
  constexpr int bands(int tiles) const { return ceil_div(tiles, band); }
  /// The products' seconds.
  constexpr double product_seconds(const WinogradSize& size) const {
    const int last = size.tiles - (bands(size.tiles) - 1) * band;
    const int all = (bands(size.tiles) - 1) * waves(band) + waves(last);
    const double of_a_wave = static_cast<double>(wave()) * tile_rows * tile_columns(kind) * size.channels;
    return all * of_a_wave / rates::multiply_adds;
  }
};

/// Of what lies between the transforms: about a device's last-level cache twice over (what one kernel writes, the next
/// reads there), or as much as the weight takes.
inline constexpr std::int64_t band_bytes = 64 << 20;

namespace detail {

constexpr WinogradPlan plan_winograd(const WinogradSize& size, TileKind kind) {
  WinogradPlan plan;
  plan.kind = kind;
  plan.column_tiles = ceil_div(size.outputs, tile_columns(kind));
  const std::int64_t floats = std::max(band_bytes / 4, size.weight());
  const auto most = static_cast<int>(std::clamp<std::int64_t>(floats / size.of_a_tile() / tile_rows, 1, 1 << 16));
  if (size.tiles <= most * tile_rows) {
    plan.band = size.tiles;
    return plan;
  }
  int best = most;  // rows of tiles whose last wave is fullest
  for (int rows = most - 1; rows >= (most + 1) / 2; --rows)
    if (rows * plan.waves(best * tile_rows) > best * plan.waves(rows * tile_rows)) best = rows;
  plan.band = best * tile_rows;
  return plan;
}

}  // namespace detail

constexpr WinogradPlan plan_winograd(const WinogradSize& size) {
  const WinogradPlan large = detail::plan_winograd(size, TileKind::large);
  const WinogradPlan medium = detail::plan_winograd(size, TileKind::medium);
  return large.product_seconds(size) <= medium.product_seconds(size) ? large : medium;
}

/// Where Winograd wins: a tenth at least, of a direct convolution that multiplies without a pause. `packed`: the
/// transformed weight is there already.
///
/// Of C channels, K outputs: 144 C K multiply-adds a tile against 36 C K and the traffic of 88 (C + K) floats. That is
/// so from about 96 channels on, where there are tiles enough.
constexpr bool winograd_wins(const WinogradSize& size, bool packed) {
  if (size.channels < 32 || size.outputs < 32 || size.tiles == 0) return false;
  const WinogradPlan plan = plan_winograd(size);
  const double pairs = static_cast<double>(size.channels) * size.outputs;
  const double of_tiles = static_cast<double>(size.tiles) * (size.channels + size.outputs) *
                          (2 * winograd::F4::products + winograd::F4::tile_pixels);
  const double of_weight =
      pairs * (winograd::F4::products * (plan.bands(size.tiles) + (packed ? 0 : 1)) + (packed ? 0 : 9));
  const double seconds = plan.product_seconds(size) + (of_tiles + of_weight) * 4 / rates::bytes +
                         (3 * plan.bands(size.tiles) + (packed ? 0 : 1)) * rates::launch;
  const double direct = pairs * size.tiles * winograd::F4::tile_pixels * 9 / rates::multiply_adds;
  return seconds * 1.1 < direct;
}

/// Whether a window, of images, can be computed so.
constexpr bool suits_winograd(const Window& w, const Shape& read, const Shape& written) {
  const Window plain = window2d(winograd::taps);
  return w.kernel == plain.kernel && w.stride == plain.stride && w.dilation == plain.dilation &&
         w.border == Border::zero && read.depth == 1 && written.depth == 1;
}

/// Whether a call of a convolution, or of its adjoint, runs as Winograd: where it wins, or always. Weights are packed
/// for runs of any batch, so where they are, a sample alone decides.
template <class T>
constexpr bool takes_winograd(const Call<T>& call, bool packed, bool always) {
  const Shape& read = call.input[0].shape;
  const Shape& written = call.output.shape;
  if (!suits_winograd(call.node->window, read, written)) return false;
  if (always) return true;
  const WinogradTiles tiles = WinogradTiles::of(*call.node, written);
  return winograd_wins({read.channels, written.channels, tiles.of_a_sample() * (packed ? 1 : call.batch)}, packed);
}

}  // namespace ulna::cuda
