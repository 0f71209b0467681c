// SPDX-License-Identifier: MIT
// From a map to the points of its tiles.
#pragma once

#include <algorithm>

#include "ulna/backend/tbb/winograd_plan.hpp"
#include "ulna/backend/tbb/winograd_transform.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::winograd {

/// Transforms tiles of a map by `Line`: Line::from pixels along each axis, zeros outside.
template <class Isa, class Line, class T>
class TileReader {
  using V = FloatVec<Isa>;
  static constexpr int W = Isa::width;

 public:
  static constexpr int extent = Line::from;

  /// Tile (i, j) reads from pixel (advance i + low_y, advance j + low_x) on. `patch` has room for extent^2 x `stride`
  /// floats.
  TileReader(const Tensor<T>& map, int low_y, int low_x, float* patch, int stride)
      : map_(map), low_y_(low_y), low_x_(low_x), patch_(patch), stride_(stride) {}

  /// Writes channels [c0, c0 + channels) of a tile to to[point * plane + c]; zeros up to the next whole vector.
  void run(int sample, int row, int column, int c0, int channels, float* to, std::ptrdiff_t plane) const {
    const int y = row * Line::advance + low_y_;
    const int x = column * Line::advance + low_x_;
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

  /// Asks for one line of a tile, as far as the tile to its left does not read it.
  void prefetch(int sample, int row, int column, int line, int c0, int channels) const {
    constexpr int cache_line = 64 / static_cast<int>(sizeof(T));
    const int y = row * Line::advance + low_y_ + line;
    const int x0 = column * Line::advance + low_x_;
    if (y < 0 || y >= map_.shape.height) return;
    for (int x = std::max(x0 + extent - Line::advance, 0); x < std::min(x0 + extent, map_.shape.width); ++x) {
      const T* pixel = map_.row(sample, y) + x * map_.pixel_stride + c0;
      for (int c = 0; c < channels; c += cache_line) ulna::prefetch(pixel + c);
    }
  }

 private:
  template <class U>
  static void transform_tile(const U* from, std::ptrdiff_t row, std::ptrdiff_t pixel, int channels, float* to,
                             std::ptrdiff_t plane) {
    // Parts of 6 x 6 values need half of the registers, rows of 8 x 8 come in pairs.
    constexpr int parts = extent == 8 ? 4 : extent == 6 && Isa::registers < 32 ? 2 : 1;
    for (int c = 0; c < channels; c += W, from += W, to += W)
      transform<Line, V, parts>([&](int i, int j) { return V::load(from + i * row + j * pixel); },
                                [&](int i, int j, V v) { v.store(to + (i * Line::to + j) * plane); });
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

/// Asks for what a reader reads of some channels of a range of tiles, line by line while something else is computed: a
/// processor waits for few requests at a time.
template <class Reader, class F>
class TilesAhead {
 public:
  TilesAhead(const Reader& reader, const Grid<F>& grid, std::ptrdiff_t first, int count, int c0, int channels)
      : reader_(reader), grid_(grid), first_(first), lines_(count * Reader::extent), c0_(c0), channels_(channels) {}

  /// As much as should be asked for when a share of the computation, in [0, 1], lies behind.
  void until(float share) {
    for (; line_ < static_cast<int>(share * static_cast<float>(lines_)); ++line_) {
      const std::ptrdiff_t tile = first_ + line_ / Reader::extent;
      const std::ptrdiff_t row = tile / grid_.columns;
      reader_.prefetch(static_cast<int>(row / grid_.rows), static_cast<int>(row % grid_.rows),
                       static_cast<int>(tile % grid_.columns), line_ % Reader::extent, c0_, channels_);
    }
  }

 private:
  Reader reader_;
  const Grid<F>& grid_;
  std::ptrdiff_t first_;
  int lines_;
  int line_ = 0;
  int c0_, channels_;
};

}  // namespace ulna::winograd
