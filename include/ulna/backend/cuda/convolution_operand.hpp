// SPDX-License-Identifier: MIT
// One thread's part in copying the operands of a product from memory to a tile, step by step along the summed axis.
// What lies outside an image, behind the last row or beyond the last term becomes zero.
//
// Whole: every chunk lies in one piece in memory, aligned. Otherwise its elements are gathered one by one, which any
// number of channels and any slice of a tensor allows.
#pragma once

#include "ulna/backend/cuda/convolution_geometry.hpp"
#include "ulna/backend/cuda/convolution_tile.hpp"
#include "ulna/backend/cuda/elements.hpp"

namespace ulna::cuda {

namespace detail {

/// Moves a chunk of shared memory's worth: at once, or element(e) by element.
template <bool Whole, class Tile, class Block, class Element>
ULNA_HOST_DEVICE void copy_chunk(Block& block, int thread, int offset, const typename Tile::Operand* from, bool valid,
                                 const typename Tile::Operand* somewhere, const Element& element) {
  if constexpr (Whole) {
    block.copy(thread, offset, valid ? from : somewhere, valid);
  } else {
    Pack<typename Tile::Operand, Tile::vector> chunk;
    ULNA_UNROLL
    for (int e = 0; e < Tile::vector; ++e) chunk.element[e] = element(e);
    block.store(thread, offset, chunk);
  }
}

}  // namespace detail

/// Rows are output pixels of a phase, terms are (tap, channel): what the window sees of the input.
template <class Tile, bool Whole>
class GatherRows {
  using T = typename Tile::Operand;
  using Layout = typename Tile::ATile;
  using Schedule = CopySchedule<Layout, Tile::threads>;

 public:
  /// The rows from first_row on, of `rows`; the terms from k on.
  ULNA_HOST_DEVICE void begin(const Tensor<T>& x, const PhaseWalk& w, int first_row, int rows, int k, int thread) {
    at_ = TapPosition(k + Schedule::chunk(thread) * Tile::vector, x.shape.channels, w);
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const int row = first_row + Schedule::row(thread, i);
      const PixelPosition q(row, w.z.count, w.y.count, w.x.count);
      z_[i] = q.z * w.z.step + w.z.first_offset;
      y_[i] = q.y * w.y.step + w.y.first_offset;
      x_[i] = q.x * w.x.step + w.x.first_offset;
      origin_[i] = pixel(x, q.n, z_[i], y_[i], x_[i]);
      if (row >= rows) z_[i] = nowhere;
    }
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const Tensor<T>& x, const PhaseWalk& w, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      bool valid = false;
      const T* from = Whole ? source(x, w, at_, i, valid) : nullptr;
      detail::copy_chunk<Whole, Tile>(block, thread,
                                      tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)), from,
                                      valid, x.data, [&](int e) {
                                        TapPosition at = at_;
                                        at.advance(e, x.shape.channels, w);
                                        bool inside = false;
                                        const T* element = source(x, w, at, i, inside);
                                        return inside ? *element : T{};
                                      });
    }
    at_.advance(Tile::depth, x.shape.channels, w);
  }

 private:
  static constexpr int nowhere = -(1 << 30);

  /// A batch has less than 2^31 pixels.
  ULNA_HOST_DEVICE static int pixel(const Tensor<T>& x, int n, int z, int y, int xx) {
    return ((n * x.shape.depth + z) * x.shape.height + y) * x.shape.width + xx;
  }

  ULNA_HOST_DEVICE const T* source(const Tensor<T>& x, const PhaseWalk& w, const TapPosition& at, int i,
                                   bool& valid) const {
    const int dz = at.jz * w.z.offset_step;
    const int dy = at.jy * w.y.offset_step;
    const int dx = at.jx * w.x.offset_step;
    valid = at.inside(w) && within(z_[i] + dz, x.shape.depth) && within(y_[i] + dy, x.shape.height) &&
            within(x_[i] + dx, x.shape.width);
    return x.data + (origin_[i] + pixel(x, 0, dz, dy, dx)) * x.pixel_stride + at.c;
  }

  TapPosition at_;
  int origin_[Schedule::copies];
  int z_[Schedule::copies], y_[Schedule::copies], x_[Schedule::copies];
};

/// Columns are output channels, terms are (tap, channel): a weight [tap][channel][pitch], whole chunks always.
template <class Tile>
class WeightRows {
  using T = typename Tile::Operand;
  using Layout = typename Tile::BTile;
  using Schedule = CopySchedule<Layout, Tile::threads>;

 public:
  ULNA_HOST_DEVICE void begin(int channels, const PhaseWalk& w, int first_column, int k, int thread) {
    column_ = first_column + Schedule::chunk(thread) * Tile::vector;
    at_ = TapPosition(k + Schedule::row(thread, 0), channels, w);
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const T* weight, int pitch, int channels, const Extent& kernel,
                             const PhaseWalk& w, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const bool valid = at_.inside(w) && column_ < pitch;
      const std::ptrdiff_t row = std::ptrdiff_t{at_.tap(kernel, w)} * channels + at_.c;
      const T* from = valid ? weight + row * pitch + column_ : weight;
      block.copy(thread, tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)), from, valid);
      at_.advance(Schedule::row_step, channels, w);  // all copies of a step: as far as the next step
    }
  }

 private:
  int column_ = 0;
  TapPosition at_;
};

/// Rows are (tap, channel) of the large image of a weight gradient, terms are pixels of the small one.
template <class Tile, bool Whole>
class GatherColumns {
  using T = typename Tile::Operand;
  using Layout = typename Tile::ATile;
  using Schedule = CopySchedule<Layout, Tile::threads>;

 public:
  /// The terms are the pixels of `small`, whose windows `w` describes.
  ULNA_HOST_DEVICE void begin(const Tensor<T>& large, const PhaseWalk& w, int first_row, int k, int thread) {
    tap_ = TapPosition(first_row + Schedule::chunk(thread) * Tile::vector, large.shape.channels, w);
    at_ = PixelPosition(k + Schedule::row(thread, 0), w.z.count, w.y.count, w.x.count);
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const Tensor<T>& large, const PhaseWalk& w, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      bool valid = false;
      const T* from = Whole ? source(large, w, tap_, at_, valid) : nullptr;
      detail::copy_chunk<Whole, Tile>(block, thread,
                                      tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)), from,
                                      valid, large.data, [&](int e) {
                                        TapPosition tap = tap_;
                                        tap.advance(e, large.shape.channels, w);
                                        bool inside = false;
                                        const T* element = source(large, w, tap, at_, inside);
                                        return inside ? *element : T{};
                                      });
      at_.advance(Schedule::row_step, w.z.count, w.y.count, w.x.count);
    }
  }

 private:
  ULNA_HOST_DEVICE static const T* source(const Tensor<T>& large, const PhaseWalk& w, const TapPosition& tap,
                                          const PixelPosition& at, bool& valid) {
    const int z = at.z * w.z.step + w.z.first_offset + tap.jz * w.z.offset_step;
    const int y = at.y * w.y.step + w.y.first_offset + tap.jy * w.y.offset_step;
    const int x = at.x * w.x.step + w.x.first_offset + tap.jx * w.x.offset_step;
    const Shape& s = large.shape;
    valid = tap.inside(w) && at.n < large.batch && within(z, s.depth) && within(y, s.height) && within(x, s.width);
    const std::ptrdiff_t pixel = ((std::ptrdiff_t{at.n} * s.depth + z) * s.height + y) * s.width + x;
    return large.data + pixel * large.pixel_stride + tap.c;
  }

  TapPosition tap_;
  PixelPosition at_;
};

/// Columns are channels of an image, terms are its pixels.
template <class Tile, bool Whole>
class PixelColumns {
  using T = typename Tile::Operand;
  using Layout = typename Tile::BTile;
  using Schedule = CopySchedule<Layout, Tile::threads>;

 public:
  ULNA_HOST_DEVICE void begin(int first_column, int k, int thread) {
    column_ = first_column + Schedule::chunk(thread) * Tile::vector;
    row_ = k + Schedule::row(thread, 0);
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const Tensor<T>& x, int pixels, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const T* from = row_of(x, row_) + column_;
      const bool valid = row_ < pixels && column_ < x.shape.channels;
      detail::copy_chunk<Whole, Tile>(
          block, thread, tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)), from, valid, x.data,
          [&](int e) { return row_ < pixels && column_ + e < x.shape.channels ? from[e] : T{}; });
      row_ += Schedule::row_step;
    }
  }

 private:
  int column_ = 0;
  int row_ = 0;
};

}  // namespace ulna::cuda
