// SPDX-License-Identifier: MIT
// How attention is cut: a block goes through all tokens of one head for a tile of its own.
#pragma once

#include "ulna/backend/cuda/elements.hpp"

namespace ulna::cuda::bodies {

/// The sizes that the attention bodies share, and how a block finds its head and tile.
struct HeadTiles {
  static constexpr int threads = 128;

  int tokens;
  int heads;
  int size;  ///< channels of a head
  int tile;  ///< tokens of a tile

  constexpr int tiles() const { return (tokens + tile - 1) / tile; }
  constexpr std::int64_t blocks(int batch) const { return std::int64_t{batch} * heads * tiles(); }
  /// Between rows of a tile in shared memory: one apart, so that threads reading a column meet no bank conflict.
  constexpr int pitch() const { return size + 1; }

  struct Place {
    int sample, head, first;  ///< of the block's tile: its first token
  };
  constexpr Place place_of(std::int64_t block) const {
    const Quotient tile_of = divide(block, tiles());
    const Quotient head_of = divide(tile_of.quotient, heads);
    return {static_cast<int>(head_of.quotient), head_of.remainder, tile_of.remainder * tile};
  }
  /// Index of a token's statistics.
  constexpr std::int64_t statistic_of(const Place& at, int token) const {
    return (std::int64_t{at.sample} * heads + at.head) * tokens + token;
  }

  /// Copies the head's channels of tokens [first, first + tile) to shared memory, all of the block's threads together;
  /// zeros behind the last token.
  template <class T>
  ULNA_HOST_DEVICE void load(const Tensor<T>& x, const Place& at, int first, float* to, int thread) const {
    for (int e = thread; e < tile * size; e += threads) {
      const int row = e / size;
      const int c = e - row * size;
      to[row * pitch() + c] =
          first + row < tokens ? static_cast<float>(x.pixel(at.sample, first + row)[at.head * size + c]) : 0.0f;
    }
  }
  ULNA_HOST_DEVICE float dot(const float* a, const float* b) const {
    float sum = 0.0f;
    for (int c = 0; c < size; ++c) sum += a[c] * b[c];
    return sum;
  }
};

/// What the gradient needs of each query: log sum_j exp(score_j), and sum_c y_c dy_c.
struct QueryStatistics {
  float log_sum, along;
};

}  // namespace ulna::cuda::bodies
