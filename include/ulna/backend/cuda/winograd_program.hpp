// SPDX-License-Identifier: MIT
// What threads and blocks of Winograd's convolution do: transforms, channel by channel, and 36 products of matrices.
//
// Planes of numbers lie one after another for the 36 points: of inputs [point][tile][channel], of weights
// [point][channel][output], of products [point][tile][output], each last axis in whole chunks.
#pragma once

#include <cmath>
#include <cstdint>

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"
#include "ulna/backend/cuda/winograd_plan.hpp"

namespace ulna::cuda {

namespace detail {

/// A number as the transforms' lines take it.
struct Single {
  float value;

  static constexpr Single broadcast(float x) { return {x}; }
  friend constexpr Single operator+(Single a, Single b) { return {a.value + b.value}; }
  friend constexpr Single operator-(Single a, Single b) { return {a.value - b.value}; }
  friend constexpr Single operator*(Single a, Single b) { return {a.value * b.value}; }
  friend ULNA_HOST_DEVICE inline Single fma(Single a, Single b, Single c) {
    return {std::fma(a.value, b.value, c.value)};
  }
};

/// Applies `Line` to the columns of a square of load(i, j), then to the rows of the result: store(i, j, value).
template <class Line, class Load, class Store>
ULNA_HOST_DEVICE void transform_square(const Load& load, const Store& store) {
  Single middle[Line::to][Line::from];
  ULNA_UNROLL
  for (int j = 0; j < Line::from; ++j) {
    Single in[Line::from], out[Line::to];
    ULNA_UNROLL
    for (int i = 0; i < Line::from; ++i) in[i].value = load(i, j);
    Line::apply(in, out);
    ULNA_UNROLL
    for (int i = 0; i < Line::to; ++i) middle[i][j] = out[i];
  }
  ULNA_UNROLL
  for (int i = 0; i < Line::to; ++i) {
    Single out[Line::to];
    Line::apply(middle[i], out);
    ULNA_UNROLL
    for (int j = 0; j < Line::to; ++j) store(i, j, out[j].value);
  }
}

}  // namespace detail

namespace bodies {

/// The transformed weight of 8 channels and 32 outputs: read along the axis that lies dense, written along outputs.
struct TransformWeight {
  using State = NoState;
  static constexpr int square_channels = 8, square_outputs = 32, threads = square_channels * square_outputs;
  static constexpr int taps = winograd::taps * winograd::taps;
  static constexpr int pitch = square_outputs + 4;  ///< eight channels of four outputs lie in banks of their own
  static constexpr std::size_t shared_bytes = sizeof(float) * taps * square_channels * pitch;

  const float* weight;  ///< [tap][channel][output], or with `swapped` [tap][output][channel]
  float* planes;
  int channels, outputs, output_pitch;
  bool swapped, reversed;  ///< reversed: the taps

  constexpr int across() const { return ceil_div(output_pitch, square_outputs); }
  constexpr std::int64_t squares() const { return std::int64_t{ceil_div(channels, square_channels)} * across(); }

  ULNA_HOST_DEVICE int phases() const { return 2; }
  ULNA_HOST_DEVICE void operator()(int phase, const Position& at, State&) const {
    auto* const square = at.shared_as<float>();
    const auto [row, column] = divide(at.block, across());
    const bool along_channels = phase == 0 && swapped;
    const int i = along_channels ? at.thread % square_channels : at.thread / square_outputs;
    const int j = along_channels ? at.thread / square_channels : at.thread % square_outputs;
    const int c = static_cast<int>(row) * square_channels + i;
    const int k = column * square_outputs + j;
    if (c >= channels || k >= output_pitch) return;
    float* const mine = square + i * pitch + j;
    constexpr int tap_pitch = square_channels * pitch;
    if (phase == 0) {
      ULNA_UNROLL
      for (int t = 0; t < taps; ++t) {
        const std::int64_t tap = reversed ? taps - 1 - t : t;
        mine[t * tap_pitch] = k >= outputs ? 0.0f
                              : swapped    ? weight[(tap * outputs + k) * channels + c]
                                           : weight[(tap * channels + c) * outputs + k];
      }
      return;
    }
    const std::int64_t plane = std::int64_t{channels} * output_pitch;
    float* const to = planes + std::int64_t{c} * output_pitch + k;
    detail::transform_square<winograd::F4::WeightLine>(
        [&](int y, int x) { return mine[(y * winograd::taps + x) * tap_pitch]; },
        [&](int y, int x, float value) { to[(y * winograd::F4::points + x) * plane] = value; });
  }
};

/// A channel of a tile of the input.
struct TransformInput {
  Tensor<float> x;
  WinogradTiles tiles;
  int first, pitch;
  float* planes;
  std::int64_t plane;

  ULNA_HOST_DEVICE void operator()(std::int64_t index) const {
    const auto [tile, c] = divide(index, pitch);
    const WinogradTiles::Place place = tiles.place_of(first + static_cast<int>(tile));
    const int y0 = place.y * winograd::F4::outputs + tiles.low_y;
    const int x0 = place.x * winograd::F4::outputs + tiles.low_x;
    const float* const from = x.sample(place.n) + c;
    const bool there = c < x.shape.channels;
    float* const to = planes + index;
    detail::transform_square<winograd::F4::InputLine>(
        [&](int i, int j) {
          const bool inside = there && within(y0 + i, x.shape.height) && within(x0 + j, x.shape.width);
          return inside ? from[(std::int64_t{y0 + i} * x.shape.width + x0 + j) * x.pixel_stride] : 0.0f;
        },
        [&](int i, int j, float value) { to[(i * winograd::F4::points + j) * plane] = value; });
  }
};

/// A channel of a tile of the output.
struct TransformProducts {
  const float* planes;
  int first, pitch;
  std::int64_t plane;
  WinogradTiles tiles;
  const float* bias;
  ActivationOf activation;
  Tensor<float> y;
  ResidualSum order = ResidualSum::none;
  Tensor<float> residual{};  ///< y may take over its memory
  Tensor<float> pooled{};    ///< if any: of 2x2 windows

  ULNA_HOST_DEVICE void operator()(std::int64_t index) const {
    const auto [tile, k] = divide(index, y.shape.channels);
    const WinogradTiles::Place place = tiles.place_of(first + static_cast<int>(tile));
    const int y0 = place.y * winograd::F4::outputs;
    const int x0 = place.x * winograd::F4::outputs;
    const float* const from = planes + tile * pitch + k;
    float* const to = y.sample(place.n) + k;
    const int channel = k;
    const float added = bias == nullptr ? 0.0f : bias[k];
    float largest[2][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
    detail::transform_square<winograd::F4::OutputLine>(
        [&](int i, int j) { return from[(i * winograd::F4::points + j) * plane]; },
        [&](int i, int j, float sum) {
          if (y0 + i >= y.shape.height || x0 + j >= y.shape.width) return;
          const std::int64_t pixel = std::int64_t{y0 + i} * y.shape.width + x0 + j;
          sum += added;
          if (order == ResidualSum::before_activation) sum += residual.pixel(place.n, pixel)[channel];
          sum = activation(sum);
          if (order == ResidualSum::after_activation) sum += residual.pixel(place.n, pixel)[channel];
          to[pixel * y.pixel_stride] = sum;
          if (pooled.data == nullptr) return;
          float& most = largest[i / 2][j / 2];
          most = sum > most ? sum : most;
        });
    if (pooled.data == nullptr) return;
    ULNA_UNROLL
    for (int i = 0; i < 2; ++i) ULNA_UNROLL
    for (int j = 0; j < 2; ++j) {
      const Extent at{0, y0 / 2 + i, x0 / 2 + j};
      if (inside(at, pooled.shape.extent()))
        pooled.pixel(place.n, index_of(at, pooled.shape.extent()))[k] = largest[i][j];
    }
  }
};

}  // namespace bodies

/// The products of all points: rows are tiles, columns outputs, terms channels.
template <class Tile_>
struct WinogradProgram {
  using Tile = Tile_;
  using Product = typename ProductOf<Tile>::type;
  static constexpr int resident_blocks = Tile::resident_blocks;

  const float *inputs, *weights;
  float* products;
  WinogradSize size;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const int first_row = index.tile / column_tiles * Tile::rows;
    const int first_column = index.tile % column_tiles * Tile::columns;
    const Tensor<float> rows = plane_of(inputs, index.phase, size.tiles, size.channel_pitch());
    const Tensor<float> terms = plane_of(weights, index.phase, size.channels, size.output_pitch());

    typename Block::template PerThread<PixelRows<Tile>> a;
    typename Block::template PerThread<PixelColumns<Tile, true>> b;
    typename Block::template PerThread<typename Product::Sums> sums;
    block.each([&](int t) {
      a[t].begin(first_row, t);
      b[t].begin(first_column, 0, t);
    });
    sum_products<Tile>(block, sums, ceil_div(size.channels, Tile::depth), [&](int t, int stage) {
      a[t].load(block, rows, size.tiles, t, stage);
      b[t].load(block, terms, size.channels, t, stage + Tile::ATile::bytes);
    });
    const StoreTarget<float> to{products, first_column, size.output_pitch(), true, {}};
    const std::int64_t before = std::int64_t{index.phase} * size.tiles;
    store_sums<Tile>(block, sums, to, [&](int row) -> std::ptrdiff_t {
      return first_row + row < size.tiles ? (before + first_row + row) * size.output_pitch() : -1;
    });
  }

 private:
  /// A plane as an image with one pixel a row.
  ULNA_HOST_DEVICE static Tensor<float> plane_of(const float* planes, int point, int rows, int pitch) {
    const std::int64_t plane = std::int64_t{rows} * pitch;
    return {const_cast<float*>(planes) + point * plane, {pitch, 1, 1, rows}, 1, pitch, plane};
  }
};

}  // namespace ulna::cuda
