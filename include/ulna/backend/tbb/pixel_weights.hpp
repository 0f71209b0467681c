// SPDX-License-Identifier: MIT
// The weight of products of pixels, read a block of channels and outputs at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "ulna/backend/tbb/pair_products.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tbb/weight.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

namespace detail {

/// Rounds rows c and c + 1 of a weight, [channel][output], to pairs, for `valid` outputs; zeros up to `width`. Row c +
/// 1 may be null: zeros.
template <class Isa>
void pack_pair(const float* even, const float* odd, int valid, bf16* to, int width) {
  using V = FloatVec<Isa>;
  for (int k = 0; k < width; k += V::width) {
    const int n = std::min(V::width, valid - k);
    const auto part = [&](const float* from) __attribute__((always_inline)) {
      if (from == nullptr || n <= 0) return V::zero();
      return n == V::width ? V::load(from + k) : V::load_partial(from + k, n);
    };
    PairVec<Isa>::join(part(even), part(odd)).store(to + 2 * k);
  }
}

/// Asks for rows of memory, some at a time: they come while products are computed.
template <class Isa>
class PrefetchRows {
 public:
  /// `near`: into the nearest cache, for what is packed next; else into the second, for what is read from there.
  PrefetchRows(const void* first, std::ptrdiff_t step, int rows, int bytes, int times, bool near)
      : row_(static_cast<const char*>(first)),
        step_(step),
        rows_(rows),
        bytes_(bytes),
        at_once_((rows + times - 1) / times),
        near_(near) {}

  void advance() {
    for (int i = 0; i < at_once_ && rows_ > 0; ++i, --rows_, row_ += step_)
      for (int k = 0; k < bytes_; k += 64) near_ ? prefetch_near(row_ + k) : prefetch(row_ + k);
  }

 private:
  const char* row_;
  std::ptrdiff_t step_;
  int rows_, bytes_, at_once_;
  bool near_;
};

/// Blocks of the weight of `call`, float in memory, as products read them: float [channel][output], bf16 [pair of
/// channels][output][2], rounded.
template <class Isa, class T>
class PixelWeights {
  using V = FloatVec<Isa>;

 public:
  explicit PixelWeights(const Call<T>& call) : weight_(call), packed_(call.node->weight_order != WeightOrder::rows) {}

  /// Whether the blocks lie in memory already, `weight_block` outputs wide.
  bool packed() const { return packed_; }
  const T* at(const WeightBlock& b) const {
    return reinterpret_cast<const T*>(weight_.data) + b.k0 * weight_.channels + std::ptrdiff_t{b.c0} * weight_block;
  }

  /// Zeros behind the last output, up to `width`.
  void pack(const WeightBlock& b, T* to, int width) const {
    if constexpr (std::is_same_v<T, float>)
      pack_floats(b, to, width);
    else
      pack_pairs(b, to, width);
  }

  PrefetchRows<Isa> prefetch_of(const WeightBlock& b, int times) const {
    constexpr auto size = static_cast<int>(sizeof(float));
    if (packed_) {
      constexpr int row = weight_block * 4;  // of a channel, or of a pair
      return {at(b), row, b.channels * static_cast<int>(sizeof(T)) / 4, row, times, false};
    }
    const float* from = rows_of(b);
    if (weight_.swapped) return {from, weight_.channels * size, b.outputs, b.channels * size, times, true};
    return {from, weight_.outputs * size, b.channels, b.outputs * size, times, true};
  }

 private:
  const float* rows_of(const WeightBlock& b) const { return weight_.at(b.tap, b.c0, b.k0); }

  void pack_floats(const WeightBlock& b, float* to, int width) const {
    const float* from = rows_of(b);
    if (weight_.swapped) {
      transpose<Isa>(from, weight_.channels, b.outputs, b.channels, to, width);
      for (int c = 0; c < b.channels && b.outputs < width; ++c)
        std::fill(to + c * width + b.outputs, to + (c + 1) * width, 0.0f);
      return;
    }
    for (int c = 0; c < b.channels; ++c, from += weight_.outputs, to += width) {
      int k = 0;
      for (; k + V::width <= b.outputs; k += V::width) V::load(from + k).store(to + k);
      if (k < b.outputs) V::load_partial(from + k, b.outputs - k).store(to + k);
    }
  }

  void pack_pairs(const WeightBlock& b, bf16* to, int width) const {
    constexpr int at_once = 16;  // channels that are transposed together
    constexpr int most_width = 64;
    alignas(64) float square[at_once * most_width];
    for (int c = 0; c < b.channels; c += at_once) {
      const int count = std::min(at_once, b.channels - c);
      const float* rows = weight_.at(b.tap, b.c0 + c, b.k0);
      std::ptrdiff_t step = weight_.outputs;
      if (weight_.swapped) {
        transpose<Isa>(rows, weight_.channels, b.outputs, count, square, most_width);
        rows = square;
        step = most_width;
      }
      for (int i = 0; i < count; i += 2, to += 2 * width)
        pack_pair<Isa>(rows + i * step, rows + (i + 1) * step, b.outputs, to, width);
    }
  }

  WeightView weight_;
  bool packed_;
};

}  // namespace detail

}  // namespace ulna::tbb_kernels
