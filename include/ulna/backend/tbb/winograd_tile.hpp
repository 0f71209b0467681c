// SPDX-License-Identifier: MIT
// From a map to the points of its tiles.
#pragma once

#include <algorithm>

#include "ulna/backend/tbb/winograd_transform.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::winograd {

/// Transforms tiles of a map by `Line`: InputLine reads 6 x 6 pixels a tile, OutputGradientLine 4 x 4, zeros outside.
template <class Isa, class Line, class T>
class TileReader {
  using V = FloatVec<Isa>;
  static constexpr int W = Isa::width;
  static constexpr int extent = Line::from;

 public:
  /// Tile (i, j) reads from pixel (4 i + low_y, 4 j + low_x) on. `patch` has room for extent^2 x `stride` floats.
  TileReader(const Tensor<T>& map, int low_y, int low_x, float* patch, int stride)
      : map_(map), low_y_(low_y), low_x_(low_x), patch_(patch), stride_(stride) {}

  /// Writes channels [c0, c0 + channels) of a tile to to[point * plane + c]; zeros up to the next whole vector.
  void run(int sample, int row, int column, int c0, int channels, float* to, std::ptrdiff_t plane) const {
    const int y = row * outputs + low_y_;
    const int x = column * outputs + low_x_;
    const Shape& s = map_.shape;
    const bool inside = y >= 0 && x >= 0 && y + extent <= s.height && x + extent <= s.width;
    if (inside && channels % W == 0) {
      const T* from = map_.row(sample, y) + x * map_.pixel_stride + c0;
      transform_tile(from, map_.pixel_stride * s.width, map_.pixel_stride, channels, to, plane);
    } else {
      cut_patch(sample, y, x, c0, channels);
      transform_tile(patch_, std::ptrdiff_t{extent} * stride_, stride_, channels, to, plane);
    }
  }

  /// Asks for the pixels of a tile that the tile to its left does not read.
  void prefetch(int sample, int row, int column, int c0, int channels) const {
    constexpr int line = 64 / static_cast<int>(sizeof(T));
    const Shape& s = map_.shape;
    const int y0 = row * outputs + low_y_;
    const int x0 = column * outputs + low_x_;
    for (int y = std::max(y0, 0); y < std::min(y0 + extent, s.height); ++y)
      for (int x = std::max(x0 + extent - outputs, 0); x < std::min(x0 + extent, s.width); ++x) {
        const T* pixel = map_.row(sample, y) + x * map_.pixel_stride + c0;
        for (int c = 0; c < channels; c += line) ulna::prefetch(pixel + c);
      }
  }

 private:
  template <class U>
  static void transform_tile(const U* from, std::ptrdiff_t row, std::ptrdiff_t pixel, int channels, float* to,
                             std::ptrdiff_t plane) {
    constexpr int parts = extent == points && Isa::registers < 32 ? 2 : 1;
    for (int c = 0; c < channels; c += W, from += W, to += W)
      transform<Line, V, parts>([&](int i, int j) { return V::load(from + i * row + j * pixel); },
                                [&](int i, int j, V v) { v.store(to + (i * points + j) * plane); });
  }

  void cut_patch(int sample, int y0, int x0, int c0, int channels) const {
    float* to = patch_;
    for (int y = y0; y < y0 + extent; ++y)
      for (int x = x0; x < x0 + extent; ++x, to += stride_) {
        const bool inside = y >= 0 && x >= 0 && y < map_.shape.height && x < map_.shape.width;
        const T* from = inside ? map_.row(sample, y) + x * map_.pixel_stride + c0 : nullptr;
        int c = 0;
        for (; c + W <= channels; c += W) (inside ? V::load(from + c) : V::zero()).store(to + c);
        if (c < channels) (inside ? V::load_partial(from + c, channels - c) : V::zero()).store(to + c);
      }
  }

  const Tensor<T>& map_;
  int low_y_, low_x_;
  float* patch_;
  int stride_;
};

}  // namespace ulna::winograd
