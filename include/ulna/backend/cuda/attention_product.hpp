// SPDX-License-Identifier: MIT
// Multi-head attention by matrix products of warps (Dao et al. 2022, Dao 2023). A block has a tile of 64 tokens of one
// head, a warp 16 of its rows; it goes through all tokens of the head, a tile at a time. Scores and weights stay in
// registers: the layout in which a matrix instruction leaves its sums is one in which the next takes its rows.
#pragma once

#include <cmath>

#include "ulna/backend/cuda/attention_tiles.hpp"
#include "ulna/backend/cuda/convolution_geometry.hpp"
#include "ulna/backend/cuda/convolution_main_loop.hpp"

namespace ulna::cuda {

/// 2^x, within 2^-22 of it on the device.
ULNA_HOST_DEVICE inline float power_of_two(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

/// Two floats rounded to bf16, the first in the lower half.
ULNA_HOST_DEVICE inline std::uint32_t bf16_pair(float low, float high) {
#ifdef __CUDA_ARCH__
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return std::uint32_t{bf16(low).bits()} | std::uint32_t{bf16(high).bits()} << 16;
#endif
}

/// Tiles of 64 tokens of heads of at most Size channels: Kept of them stay; others come in pairs, two pairs at a time.
template <Arithmetic A, int Size, int Kept>
struct HeadTiling {
  using T = typename OperandOf<A>::type;
  static constexpr Arithmetic arithmetic = A;
  static constexpr bool warpgroups = false;
  static constexpr int tokens = 64;
  static constexpr int others = A == Arithmetic::bf16 ? 64 : 32;  ///< tokens of the others: registers must hold scores
  static constexpr int size = Size;
  static constexpr int threads = tokens / 16 * warp_size;
  static constexpr int vector = chunk_bytes / static_cast<int>(sizeof(T));

  using Own = SharedTile<tokens, Size / vector>;
  using Other = SharedTile<others, Size / vector>;
  using Output = BlockTile<A, Major::k, tokens, Size, 16, Size, 64, 1>;  ///< how sums go to memory

  static constexpr int stages = Kept * Own::bytes;  ///< where the others begin
  static constexpr int tile_bytes = stages + 4 * Other::bytes;
  static constexpr int shared_bytes = tile_bytes > Output::shared_bytes ? tile_bytes : Output::shared_bytes;

  /// Copies the head's channels of the Layout's tokens from `first` on to byte `to`, a thread's part of them; zeros
  /// behind the last token and the last channel.
  template <class Layout, class Block>
  ULNA_HOST_DEVICE static void copy(Block& block, const bodies::HeadTiles& heads, const bodies::HeadTiles::Place& at,
                                    const Tensor<T>& x, int first, int to, int thread) {
    using Schedule = CopySchedule<Layout, threads>;
    const int chunk = Schedule::chunk(thread);
    ULNA_UNROLL
    for (int i = 0; i < Schedule::copies; ++i) {
      const int row = Schedule::row(thread, i);
      const bool valid = first + row < heads.tokens && chunk * vector < heads.size;
      const T* from = valid ? x.pixel(at.sample, first + row) + at.head * heads.size + chunk * vector : x.data;
      block.copy(thread, to + Layout::offset(row, chunk), from, valid);
    }
  }

  /// visit(first token, byte of its tile of x; that of y follows) for all tiles of a head.
  template <class Block, class Visit>
  ULNA_HOST_DEVICE static void sweep(Block& block, const bodies::HeadTiles& heads, const bodies::HeadTiles::Place& at,
                                     const Tensor<T>& x, const Tensor<T>& y, const Visit& visit) {
    const int steps = ceil_div(heads.tokens, others);
    const auto ask_for = [&](int step) {
      const int to = stages + step % 2 * 2 * Other::bytes;
      if (step < steps)
        block.each([&](int t) {
          copy<Other>(block, heads, at, x, step * others, to, t);
          copy<Other>(block, heads, at, y, step * others, to + Other::bytes, t);
        });
      block.commit();
    };
    ask_for(0);
    ULNA_KEEP_LOOP
    for (int step = 0; step < steps; ++step) {
      block.template wait<0>();
      block.barrier();  // everybody's copies are here, and everybody has read what the next ones overwrite
      ask_for(step + 1);
      visit(step * others, stages + step % 2 * 2 * Other::bytes);
    }
    block.barrier();
  }
};

/// Products of a warp's 16 rows with tiles of other tokens.
template <class Tiling>
struct HeadProduct {
  static constexpr bool is_bf16 = Tiling::arithmetic == Arithmetic::bf16;
  static constexpr int step = is_bf16 ? 16 : 8;  ///< terms of an instruction
  static constexpr int token_blocks = Tiling::others / 8;
  static constexpr int channel_blocks = Tiling::size / 8;
  using Own = typename Tiling::Own;
  using Other = typename Tiling::Other;

  /// Row lane / 4 of the warp's 16 (numbers 0 and 1) and that plus 8 (2 and 3), columns 2 (lane % 4) and the next.
  struct Scores {
    float block[token_blocks][4];
  };
  using Sums = typename TensorCoreProduct<typename Tiling::Output>::Sums;
  struct Fragments {
    std::uint32_t a[4], b[4];  ///< b: of two blocks of columns
  };

  /// Row (of the tile) and token (of the other) of a thread's numbers.
  static constexpr int row(int thread, int half) { return thread / warp_size * 16 + half * 8 + thread % warp_size / 4; }
  static constexpr int column(int thread, int block, int i) { return block * 8 + thread % 4 * 2 + i % 2; }

  // --- where fragments are read (compare TensorCoreProduct)

  static constexpr int own_offset(int thread, int k) {
    const int lane = thread % warp_size;
    return Own::offset(thread / warp_size * 16 + lane % 16, k / Tiling::vector + lane / 16);
  }
  /// Tokens are columns, channels terms: (tokens 0-7, terms 0-), (0-7, middle-), (8-15, 0-), (8-15, middle-).
  static constexpr int across_offset(int thread, int block, int k) {
    const int lane = thread % warp_size;
    return Other::offset(block * 8 + lane / 16 * 8 + lane % 8, k / Tiling::vector + lane / 8 % 2);
  }
  /// Tokens are terms, channels columns: (terms 0-7, channels 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  static constexpr int along_offset(int thread, int block, int k) {
    const int lane = thread % warp_size;
    return Other::offset(k + lane % 16, block * 8 / Tiling::vector + lane / 16);
  }
  /// The same in single words. Terms are taken in the order in which Scores holds them: 0, 2, 4, 6, 1, 3, 5, 7.
  static constexpr int along_word_offset(int thread, int block, int k, int word) {
    const int channel = block * 8 + thread % warp_size / 4;
    return Other::offset(k + thread % 4 * 2 + word, channel / Tiling::vector) + channel % Tiling::vector * 4;
  }

  /// scores = own other^T, both tiles in shared memory.
  template <class Block, class PerThreadScores>
  ULNA_HOST_DEVICE static void score(Block& block, PerThreadScores& scores, int own, int other) {
    typename Block::template PerThread<Fragments> fragments;
    block.each([&](int t) {
      ULNA_UNROLL
      for (int j = 0; j < token_blocks; ++j) ULNA_UNROLL
      for (int i = 0; i < 4; ++i) scores[t].block[j][i] = 0.0f;
    });
    ULNA_UNROLL
    for (int k = 0; k < Tiling::size; k += step) {
      block.template load_matrices<false>([&](int t) { return own + own_offset(t, k); },
                                          [&](int t, int w) -> std::uint32_t& { return fragments[t].a[w]; });
      block.each([&](int t) { round(fragments[t].a); });
      ULNA_UNROLL
      for (int j = 0; j < token_blocks; j += 2) {
        block.template load_matrices<false>([&](int t) { return other + across_offset(t, j, k); },
                                            [&](int t, int w) -> std::uint32_t& { return fragments[t].b[w]; });
        block.each([&](int t) { round(fragments[t].b); });
        multiply(block, fragments, [&](int t, int h) { return scores[t].block[j + h]; });
      }
    }
  }

  /// sums += weights other: the weights are rounded to operands.
  template <class Block, class PerThreadSums, class PerThreadScores>
  ULNA_HOST_DEVICE static void accumulate(Block& block, PerThreadSums& sums, PerThreadScores& weights, int other) {
    typename Block::template PerThread<Fragments> fragments;
    ULNA_UNROLL
    for (int k = 0; k < Tiling::others; k += step) {
      block.each([&](int t) { take_rows(fragments[t].a, weights[t].block + k / 8); });
      ULNA_UNROLL
      for (int j = 0; j < channel_blocks; j += 2) {
        if constexpr (is_bf16)
          block.template load_matrices<true>([&](int t) { return other + along_offset(t, j, k); },
                                             [&](int t, int w) -> std::uint32_t& { return fragments[t].b[w]; });
        else
          block.each([&](int t) {
            ULNA_UNROLL
            for (int w = 0; w < 4; ++w)
              fragments[t].b[w] =
                  tf32_bits(block.template load<std::uint32_t>(t, other + along_word_offset(t, j + w / 2, k, w % 2)));
          });
        multiply(block, fragments, [&](int t, int h) { return sums[t].block[0][j + h]; });
      }
    }
  }

 private:
  /// Floats to tf32.
  ULNA_HOST_DEVICE static void round(std::uint32_t (&words)[4]) {
    if constexpr (!is_bf16) {
      ULNA_UNROLL
      for (int w = 0; w < 4; ++w) words[w] = tf32_bits(words[w]);
    }
  }

  /// A row fragment out of sums.
  ULNA_HOST_DEVICE static void take_rows(std::uint32_t* a, const float (*from)[4]) {
    ULNA_UNROLL
    for (int w = 0; w < 4; ++w)
      a[w] = is_bf16 ? bf16_pair(from[w / 2][w % 2 * 2], from[w / 2][w % 2 * 2 + 1])
                     : tf32_bits(std::bit_cast<std::uint32_t>(from[0][w % 2 * 2 + w / 2]));
  }

  template <class Block, class PerThreadFragments, class SumsOf>
  ULNA_HOST_DEVICE static void multiply(Block& block, PerThreadFragments& fragments, const SumsOf& sums_of) {
    ULNA_UNROLL
    for (int h = 0; h < 2; ++h)
      block.template multiply_add<is_bf16>([&](int t) { return sums_of(t, h); }, [&](int t) { return fragments[t].a; },
                                           [&](int t) { return fragments[t].b + 2 * h; });
  }
};

}  // namespace ulna::cuda
