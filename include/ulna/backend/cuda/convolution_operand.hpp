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

/// Whether every pixel's channels can be copied in whole chunks of 16 bytes.
template <class T>
bool in_chunks(const Tensor<T>& x) {
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(T));
  return x.shape.channels % vector == 0 && x.pixel_stride % vector == 0 &&
         reinterpret_cast<std::uintptr_t>(x.data) % chunk_bytes == 0;
}

/// Fills a chunk of shared memory with next(), next(), ...
template <class Tile, class Block, class Next>
ULNA_HOST_DEVICE void gather_chunk(Block& block, int thread, int offset, const Next& next) {
  Pack<typename Tile::Operand, Tile::vector> chunk;
  ULNA_UNROLL
  for (int e = 0; e < Tile::vector; ++e) chunk.element[e] = next();
  block.store(thread, offset, chunk);
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
    PixelPosition q(first_row + Schedule::row(thread, 0), w.z.count, w.y.count, w.x.count);
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      z_[i] = q.z * w.z.step + w.z.first_offset;
      y_[i] = q.y * w.y.step + w.y.first_offset;
      x_[i] = q.x * w.x.step + w.x.first_offset;
      origin_[i] = pixel(x, q.n, z_[i], y_[i], x_[i]);
      if (first_row + Schedule::row(thread, i) >= rows) z_[i] = nowhere;
      q.advance(Schedule::row_step, w.z.count, w.y.count, w.x.count);
    }
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const Tensor<T>& x, const PhaseWalk& w, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const int to = tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread));
      TapPosition at = at_;
      bool valid = false;
      if constexpr (Whole) {
        const T* from = source(x, w, at, i, valid);
        block.copy(thread, to, valid ? from : x.data, valid);
      } else {
        detail::gather_chunk<Tile>(block, thread, to, [&] {
          const T* from = source(x, w, at, i, valid);
          at.advance(1, x.shape.channels, w);
          return valid ? *from : T{};
        });
      }
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
  ULNA_HOST_DEVICE void begin(int first_column, int k, int thread) {
    column_ = first_column + Schedule::chunk(thread) * Tile::vector;
    k_ = k + Schedule::row(thread, 0);
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const T* weight, int pitch, int channels, const Extent& kernel,
                             const PhaseWalk& w, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      int row = w.first_tap * channels + k_;
      if (!w.in_order) {
        const TapPosition at(k_, channels, w);
        row = at.tap(kernel, w) * channels + at.c;
      }
      const bool valid = k_ < w.taps() * channels && column_ < pitch;
      const T* from = valid ? weight + std::ptrdiff_t{row} * pitch + column_ : weight;
      block.copy(thread, tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)), from, valid);
      k_ += Schedule::row_step;
    }
  }

 private:
  int column_ = 0;
  int k_ = 0;
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
      const int to = tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread));
      TapPosition tap = tap_;
      bool valid = false;
      if constexpr (Whole) {
        const T* from = source(large, w, tap, at_, valid);
        block.copy(thread, to, valid ? from : large.data, valid);
      } else {
        detail::gather_chunk<Tile>(block, thread, to, [&] {
          const T* from = source(large, w, tap, at_, valid);
          tap.advance(1, large.shape.channels, w);
          return valid ? *from : T{};
        });
      }
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

/// Rows are an image's pixels, terms their channels, in whole chunks.
template <class Tile>
class PixelRows {
  using T = typename Tile::Operand;
  using Layout = typename Tile::ATile;
  using Schedule = CopySchedule<Layout, Tile::threads>;

 public:
  ULNA_HOST_DEVICE void begin(int first_row, int thread) {
    row_ = first_row + Schedule::row(thread, 0);
    c_ = Schedule::chunk(thread) * Tile::vector;
  }

  template <class Block>
  ULNA_HOST_DEVICE void load(Block& block, const Tensor<T>& x, int pixels, int thread, int tile) {
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const int row = row_ + i * Schedule::row_step;
      const bool valid = row < pixels && c_ < x.shape.channels;
      block.copy(thread, tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread)),
                 valid ? row_of(x, row) + c_ : x.data, valid);
    }
    c_ += Tile::depth;
  }

 private:
  int row_ = 0;
  int c_ = 0;
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
      const int to = tile + Layout::offset(Schedule::row(thread, i), Schedule::chunk(thread));
      const T* from = row_of(x, row_) + column_;
      const int left = row_ < pixels ? x.shape.channels - column_ : 0;
      if constexpr (Whole) {
        block.copy(thread, to, left > 0 ? from : x.data, left > 0);
      } else {
        int e = 0;
        detail::gather_chunk<Tile>(block, thread, to, [&] {
          const T value = e < left ? from[e] : T{};
          ++e;
          return value;
        });
      }
      row_ += Schedule::row_step;
    }
  }

 private:
  int column_ = 0;
  int row_ = 0;
};

}  // namespace ulna::cuda
