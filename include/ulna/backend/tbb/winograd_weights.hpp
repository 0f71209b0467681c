// SPDX-License-Identifier: MIT
// From the taps of a weight to the points of its tiles.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tbb/weight.hpp"
#include "ulna/backend/tbb/winograd_transform.hpp"

namespace ulna::winograd {

using tbb_kernels::WeightBlock;
using tbb_kernels::WeightView;

/// Transforms blocks of a weight by F::WeightLine.
template <class Isa, class F>
class WeightReader {
  using V = FloatVec<Isa>;
  static constexpr int W = Isa::width;
  static constexpr int line = 16;  ///< floats of a cache line

 public:
  static constexpr int rows = 16;  ///< channels whose taps are gathered at a time

  /// `flipped`: taps count from the last. `room`: for taps^2 x `rows` x the outputs of a block, in whole vectors.
  WeightReader(const WeightView& weight, bool flipped, float* room)
      : weight_(weight),
        first_tap_(flipped ? taps * taps - 1 : 0),
        tap_step_(flipped ? -weight.tap_step() : weight.tap_step()),
        room_(room) {}

  /// Writes a block to to[point * plane + channel * width + output], where `width` are its outputs in whole vectors;
  /// zeros behind the last.
  void run(const WeightBlock& b, float* to, std::ptrdiff_t plane) const {
    const int width = (b.outputs + W - 1) / W * W;
    if (weight_.blocks) {
      for (int k0 = 0; k0 < b.outputs; k0 += weight_block)
        for (int c = 0; c < b.channels; ++c)
          transform_row(first_tap(b.c0 + c, b.k0 + k0), tap_step_, weight_block, to + c * width + k0, plane);
      return;
    }
    for (int c = 0; c < b.channels; c += rows) {
      const int count = std::min(rows, b.channels - c);
      gather({b.c0 + c, count, b.k0, b.outputs}, width);
      for (int r = 0; r < count; ++r) {
        prefetch_row(b, c + rows, r);
        transform_row(room_ + r * width, rows * width, width, to + (c + r) * width, plane);
      }
    }
  }

  /// Cache lines of a block, of each tap, that prefetch() asks for. Of other weights than packed ones none: their taps
  /// lie powers of two apart, and would push each other out of the caches before they are read.
  int lines(const WeightBlock& b) const { return weight_.blocks ? b.channels * weight_block / line : 0; }
  /// (Faster tap by tap than in the order of memory: the processor fetches neighbours of its own accord.)
  void prefetch(const WeightBlock& b, int i) const {
    constexpr int of_row = weight_block / line;
    for (int k = 0; k < b.outputs; k += weight_block) {
      const float* from = first_tap(b.c0 + i / of_row, b.k0 + k + i % of_row * line);
      for (int t = 0; t < taps * taps; ++t, from += tap_step_) ulna::prefetch(from);
    }
  }

 private:
  const float* first_tap(int c, int k) const { return weight_.at(first_tap_, c, k); }

  /// Of `count` neighbours, whose taps lie `tap` floats apart. On its own, where all addresses stay in registers.
  [[gnu::noinline]] static void transform_row(const float* from, std::ptrdiff_t tap, int count, float* to,
                                              std::ptrdiff_t plane) {
    for (int i = 0; i < count; i += W, from += W, to += W)
      transform<typename F::WeightLine, V>([&](int y, int x) { return V::load(from + (y * taps + x) * tap); },
                                           [&](int y, int x, V v) { v.store(to + (y * F::points + x) * plane); });
  }

  /// Asks for the share of row `r` in what is gathered for the channels from `c` of the block on.
  void prefetch_row(const WeightBlock& b, int c, int r) const {
    c += b.c0;
    if (c >= weight_.channels) return;
    const int of_row = (b.outputs + line - 1) / line;
    for (int i = 0; i < of_row; ++i) {
      const float* from = weight_.swapped ? first_tap(c, b.k0 + r * of_row + i) : first_tap(c + r, b.k0 + i * line);
      for (int t = 0; t < taps * taps; ++t, from += tap_step_) ulna::prefetch(from);
    }
  }

  /// The taps of some channels as [tap][channel][output], zeros behind the last output.
  void gather(const WeightBlock& b, int width) const {
    const float* from = first_tap(b.c0, b.k0);
    float* to = room_;
    for (int t = 0; t < taps * taps; ++t, from += tap_step_, to += rows * width) {
      if (weight_.swapped) {
        tbb_kernels::transpose<Isa>(from, weight_.channels, b.outputs, b.channels, to, width);
        for (int r = 0; r < b.channels && b.outputs < width; ++r)
          std::fill(to + r * width + b.outputs, to + (r + 1) * width, 0.0f);
      } else {
        for (int r = 0; r < b.channels; ++r) {
          const float* row = from + r * weight_.outputs;
          int k = 0;
          for (; k + W <= b.outputs; k += W) V::load(row + k).store(to + r * width + k);
          if (k < b.outputs) V::load_partial(row + k, b.outputs - k).store(to + r * width + k);
        }
      }
    }
  }

  WeightView weight_;
  int first_tap_;
  std::ptrdiff_t tap_step_;
  float* room_;
};

/// Asks for a block of a weight while something else is computed: see TilesAhead.
template <class Reader>
class WeightsAhead {
 public:
  WeightsAhead(const Reader& reader, const WeightBlock& block)
      : reader_(reader), block_(block), lines_(reader.lines(block)) {}

  /// As much as should be asked for when a share of the computation, in [0, 1], lies behind.
  void until(float share) {
    const auto end = static_cast<int>(share * static_cast<float>(lines_));
    for (; line_ < end; ++line_) reader_.prefetch(block_, line_);
  }

 private:
  Reader reader_;
  WeightBlock block_;
  int lines_;
  int line_ = 0;
};

}  // namespace ulna::winograd
