// SPDX-License-Identifier: MIT
// What a block of attention computes by matrix products, forward and backward. Softmax is taken online (Milakov and
// Gimelshein 2018), scores are in units of log 2, and no matrix of scores leaves the registers. Gradients are gathered,
// by queries and by keys: nothing is added to atomically.
#pragma once

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/attention_product.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"

namespace ulna::cuda {

/// What a thread knows of its two rows while softmax goes over tiles (Milakov and Gimelshein 2018). Scores are in units
/// of log 2; `total` and `along` are of the thread's own columns until sum_quads().
struct SoftmaxRows {
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  float along[2] = {};  ///< sum of weight times slope, where there are slopes
  float keep[2] = {};   ///< what the last tile's new maximum left of everything before

  template <class Block, class PerThreadRows>
  ULNA_HOST_DEVICE static void sum_quads(Block& block, PerThreadRows& rows) {
    const auto add = [](float a, float b) { return a + b; };
    ULNA_UNROLL
    for (int h = 0; h < 2; ++h) {
      block.combine_quads([&](int t) -> float& { return rows[t].total[h]; }, add);
      block.combine_quads([&](int t) -> float& { return rows[t].along[h]; }, add);
    }
  }
};

namespace detail {

inline constexpr float log2_e = 1.44269504f;

ULNA_HOST_DEVICE inline float score_scale(int size) { return inverse_root(static_cast<float>(size)); }

/// Scores of tokens from `first` on to weights 2^(score - largest so far); tokens behind the last weigh nothing. Every
/// tile holds a token, so that the largest is finite.
template <class Product, class Block, class PerThreadScores, class PerThreadRows>
ULNA_HOST_DEVICE void weigh(Block& block, PerThreadScores& scores, PerThreadRows& rows, int left, float scale) {
  typename Block::template PerThread<SoftmaxRows> next;
  block.each([&](int t) {
    ULNA_UNROLL
    for (int h = 0; h < 2; ++h) next[t].largest[h] = rows[t].largest[h];
    ULNA_UNROLL
    for (int j = 0; j < Product::token_blocks; ++j) ULNA_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& score = scores[t].block[j][i];
      score = Product::column(t, j, i) < left ? score * scale : -INFINITY;
      float& largest = next[t].largest[i / 2];
      largest = score > largest ? score : largest;
    }
  });
  ULNA_UNROLL
  for (int h = 0; h < 2; ++h)
    block.combine_quads([&](int t) -> float& { return next[t].largest[h]; },
                        [](float a, float b) { return a > b ? a : b; });
  block.each([&](int t) {
    ULNA_UNROLL
    for (int h = 0; h < 2; ++h) {
      rows[t].keep[h] = power_of_two(rows[t].largest[h] - next[t].largest[h]);
      rows[t].largest[h] = next[t].largest[h];
      rows[t].total[h] *= rows[t].keep[h];
    }
    ULNA_UNROLL
    for (int j = 0; j < Product::token_blocks; ++j) ULNA_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& weight = scores[t].block[j][i];
      weight = power_of_two(weight - rows[t].largest[i / 2]);
      rows[t].total[i / 2] += weight;
    }
  });
}

/// Writes a block's sums to its tokens of the head, from channel `begin` of x on.
template <class Tiling, class Block, class PerThreadSums>
ULNA_HOST_DEVICE void store_head(Block& block, PerThreadSums& sums, const bodies::HeadTiles& heads,
                                 const bodies::HeadTiles::Place& at, const Tensor<typename Tiling::T>& x, int begin) {
  using T = typename Tiling::T;
  const StoreTarget<T> to{x.data + begin + at.head * heads.size, 0, heads.size, true, {}};
  store_sums<typename Tiling::Output>(block, sums, to, [&](int row) -> std::ptrdiff_t {
    const int token = at.first + row;
    return token < heads.tokens ? at.sample * x.sample_stride + token * x.pixel_stride : -1;
  });
}

}  // namespace detail

/// y[i] = sum_j P[i][j] v[j] for a tile of queries.
template <Arithmetic A, int Size>
struct AttentionProgram {
  using Tile = HeadTiling<A, Size, 1>;
  using Product = HeadProduct<Tile>;
  using T = typename Tile::T;
  static constexpr int resident_blocks = 3;

  bodies::HeadTiles heads;
  Tensor<T> q, k, v, y;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const auto at = heads.place_of(index.tile);
    const float scale = detail::log2_e * detail::score_scale(heads.size);
    typename Block::template PerThread<typename Product::Scores> weights;
    typename Block::template PerThread<typename Product::Sums> sums;
    typename Block::template PerThread<SoftmaxRows> rows;
    block.each([&](int t) { Tile::template copy<typename Tile::Own>(block, heads, at, q, at.first, 0, t); });
    Tile::sweep(block, heads, at, k, v, [&](int first, int keys) {
      Product::score(block, weights, 0, keys);
      detail::weigh<Product>(block, weights, rows, heads.tokens - first, scale);
      block.each([&](int t) { multiply_rows(sums[t], rows[t].keep); });
      Product::accumulate(block, sums, weights, keys + Tile::Other::bytes);
    });
    SoftmaxRows::sum_quads(block, rows);
    block.each([&](int t) {
      const float inverse[2] = {1.0f / rows[t].total[0], 1.0f / rows[t].total[1]};
      multiply_rows(sums[t], inverse);
    });
    detail::store_head<Tile>(block, sums, heads, at, y, 0);
  }

 private:
  ULNA_HOST_DEVICE static void multiply_rows(typename Product::Sums& sums, const float (&by)[2]) {
    ULNA_UNROLL
    for (int j = 0; j < Product::channel_blocks; ++j) ULNA_UNROLL
    for (int i = 0; i < 4; ++i) sums.block[0][j][i] *= by[i / 2];
  }
};

/// For a tile of queries: log2 sum_j exp(score_j) and sum_j P[i][j] dP[i][j], going through the keys once, and then
/// dq[i] = sum_j dS[i][j] k[j], going through them again.
template <Arithmetic A, int Size>
struct QueryGradientProgram {
  using Tile = HeadTiling<A, Size, 2>;
  using Product = HeadProduct<Tile>;
  using T = typename Tile::T;
  static constexpr int resident_blocks = 2;

  bodies::HeadTiles heads;
  Tensor<T> q, k, v, dy, gradients;  ///< gradients {3 C}: dq, dk, dv side by side
  bodies::QueryStatistics* statistics;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const auto at = heads.place_of(index.tile);
    const float scale = detail::score_scale(heads.size);
    constexpr int second = Tile::Own::bytes;          // of the own tiles
    constexpr int other_second = Tile::Other::bytes;  // of a pair of others
    typename Block::template PerThread<typename Product::Scores> weights, slopes;
    typename Block::template PerThread<typename Product::Sums> sums;
    typename Block::template PerThread<SoftmaxRows> rows;
    block.each([&](int t) {
      Tile::template copy<typename Tile::Own>(block, heads, at, q, at.first, 0, t);
      Tile::template copy<typename Tile::Own>(block, heads, at, dy, at.first, second, t);
    });
    Tile::sweep(block, heads, at, k, v, [&](int first, int keys) {
      Product::score(block, weights, 0, keys);
      detail::weigh<Product>(block, weights, rows, heads.tokens - first, detail::log2_e * scale);
      Product::score(block, slopes, second, keys + other_second);
      block.each([&](int t) {
        ULNA_UNROLL
        for (int h = 0; h < 2; ++h) rows[t].along[h] *= rows[t].keep[h];
        ULNA_UNROLL
        for (int j = 0; j < Product::token_blocks; ++j) ULNA_UNROLL
        for (int i = 0; i < 4; ++i) rows[t].along[i / 2] += weights[t].block[j][i] * slopes[t].block[j][i];
      });
    });
    SoftmaxRows::sum_quads(block, rows);
    block.each([&](int t) {
      ULNA_UNROLL
      for (int h = 0; h < 2; ++h) {
        rows[t].along[h] /= rows[t].total[h];
        rows[t].largest[h] += std::log2(rows[t].total[h]);  // from here on the logarithm of the sum
        const int token = at.first + Product::row(t, h);
        if (t % 4 == 0 && token < heads.tokens)
          statistics[heads.statistic_of(at, token)] = {rows[t].largest[h], rows[t].along[h]};
      }
    });
    Tile::sweep(block, heads, at, k, v, [&](int first, int keys) {
      Product::score(block, weights, 0, keys);
      Product::score(block, slopes, second, keys + other_second);
      block.each([&](int t) {
        ULNA_UNROLL
        for (int j = 0; j < Product::token_blocks; ++j) ULNA_UNROLL
        for (int i = 0; i < 4; ++i) {
          const bool there = first + Product::column(t, j, i) < heads.tokens;
          const float exponent = detail::log2_e * scale * weights[t].block[j][i] - rows[t].largest[i / 2];
          const float weight = there ? power_of_two(exponent) : 0.0f;
          slopes[t].block[j][i] = weight * (slopes[t].block[j][i] - rows[t].along[i / 2]) * scale;
        }
      });
      Product::accumulate(block, sums, slopes, keys);
    });
    detail::store_head<Tile>(block, sums, heads, at, gradients, 0);
  }
};

/// For a tile of keys: dk[j] = sum_i dS[i][j] q[i] and dv[j] = sum_i P[i][j] dy[i]. Rows are keys: scores, weights and
/// slopes are transposed, and what belongs to a query belongs to a column.
template <Arithmetic A, int Size>
struct KeyGradientProgram {
  using Tile = HeadTiling<A, Size, 2>;
  using Product = HeadProduct<Tile>;
  using T = typename Tile::T;
  static constexpr int resident_blocks = 2;

  bodies::HeadTiles heads;
  Tensor<T> q, k, v, dy, gradients;
  const bodies::QueryStatistics* statistics;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const auto at = heads.place_of(index.tile);
    const float scale = detail::score_scale(heads.size);
    constexpr int second = Tile::Own::bytes;          // of the own tiles
    constexpr int other_second = Tile::Other::bytes;  // of a pair of others
    typename Block::template PerThread<typename Product::Scores> weights, slopes;
    typename Block::template PerThread<typename Product::Sums> dk, dv;
    block.each([&](int t) {
      Tile::template copy<typename Tile::Own>(block, heads, at, k, at.first, 0, t);
      Tile::template copy<typename Tile::Own>(block, heads, at, v, at.first, second, t);
    });
    Tile::sweep(block, heads, at, q, dy, [&](int first, int queries) {
      Product::score(block, weights, 0, queries);
      Product::score(block, slopes, second, queries + other_second);
      block.each([&](int t) {
        ULNA_UNROLL
        for (int j = 0; j < Product::token_blocks; ++j) ULNA_UNROLL
        for (int c = 0; c < 2; ++c) {
          const int query = first + Product::column(t, j, c);
          bodies::QueryStatistics of_query{INFINITY, 0.0f};  // weighs nothing
          if (query < heads.tokens) of_query = statistics[heads.statistic_of(at, query)];
          ULNA_UNROLL
          for (int i = c; i < 4; i += 2) {
            float& weight = weights[t].block[j][i];
            float& slope = slopes[t].block[j][i];
            weight = power_of_two(detail::log2_e * scale * weight - of_query.log_sum);
            slope = weight * (slope - of_query.along) * scale;
          }
        }
      });
      Product::accumulate(block, dv, weights, queries + other_second);
      Product::accumulate(block, dk, slopes, queries);
    });
    const int channels = heads.heads * heads.size;
    detail::store_head<Tile>(block, dk, heads, at, gradients, channels);
    block.barrier();
    detail::store_head<Tile>(block, dv, heads, at, gradients, 2 * channels);
  }
};

}  // namespace ulna::cuda
