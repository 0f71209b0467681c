// SPDX-License-Identifier: MIT
// What every product of the family does in a block: a pipeline of tiles through shared memory, and the way of the sums
// from registers to memory.
#pragma once

#include <type_traits>

#include "ulna/backend/cuda/activation.hpp"
#include "ulna/backend/cuda/convolution_hopper.hpp"
#include "ulna/backend/cuda/convolution_product.hpp"

namespace ulna::cuda {

/// Sums `steps` steps. fetch(thread, stage) copies a thread's part of the next step's tiles to byte `stage`.
///
/// One barrier a step says two things: everybody's copies of this step have arrived, and everybody has read the tiles
/// whose memory the next copies overwrite. Those are the tiles of the step before; where products are asynchronous, of
/// two steps before, since the last product may still be reading. So a step's tiles are asked for stages - 1 or stages
/// - 2 steps ahead.
template <class Tile, class Block, class PerThreadSums, class Fetch>
ULNA_HOST_DEVICE void sum_products(Block& block, PerThreadSums& sums, int steps, const Fetch& fetch) {
  using Product = typename ProductOf<Tile>::type;
  constexpr int ahead = Tile::stages - (Tile::warpgroups ? 2 : 1);
  static_assert(ahead >= 1);
  const auto ask_for = [&](int step) {
    const int stage = step % Tile::stages * Tile::stage_bytes;
    if (step < steps) block.each([&](int thread) { fetch(thread, stage); });
    block.commit();
  };
  ULNA_KEEP_LOOP
  for (int step = 0; step < ahead; ++step) ask_for(step);
  if constexpr (Tile::warpgroups) Product::settle(block, sums);
  ULNA_KEEP_LOOP
  for (int step = 0; step < steps; ++step) {
    block.template wait<ahead - 1>();
    if constexpr (Tile::warpgroups) block.publish();
    block.barrier();
    if constexpr (Tile::warpgroups) {  // the product goes on while the copies are asked for
      Product::add(block, sums, step % Tile::stages * Tile::stage_bytes);
      ask_for(step + ahead);
      block.template wait_products<1>();
    } else {  // copies take longer than products: first things first
      ask_for(step + ahead);
      Product::add(block, sums, step % Tile::stages * Tile::stage_bytes);
    }
  }
  if constexpr (Tile::warpgroups) Product::finish(block, sums);
  block.template wait<0>();
  block.barrier();
}

/// The activations that sums pass on their way out. They are cheap: this code is repeated for every register. Others
/// take a pass of their own.
struct QuickActivation {
  bool zero_below = false;
  float factor_below = 1.0f;

  constexpr QuickActivation() = default;
  constexpr explicit QuickActivation(const Node& node)
      : zero_below(node.activation == Activation::relu),
        factor_below(node.activation == Activation::leaky_relu ? node.slope : 1.0f) {}
  static constexpr bool covers(Activation a) {
    return a == Activation::none || a == Activation::relu || a == Activation::leaky_relu;
  }
  ULNA_HOST_DEVICE float operator()(float x) const { return x < 0.0f ? (zero_below ? 0.0f : factor_below * x) : x; }
};

/// What is added to rows on their way out, and the activation of the sum. An element is read just before the same one
/// of the target is written, by the same thread: the target may lie in the same memory.
template <class Out>
struct AddedRows {
  const Out* data = nullptr;
  std::ptrdiff_t pitch = 0;
  bool whole = false;  ///< rows and columns allow 16-byte loads
  QuickActivation activation{};

  template <int N>
  ULNA_HOST_DEVICE void add_to(Pack<Out, N>& sums, std::int64_t row, int c, int columns) const {
    const Out* const at = data + row * pitch + c;
    Pack<Out, N> added{};
    if (whole && c + N <= columns) {
      added = *reinterpret_cast<const Pack<Out, N>*>(at);
    } else {
      ULNA_UNROLL
      for (int e = 0; e < N; ++e)
        if (c + e < columns) added.element[e] = at[e];
    }
    ULNA_UNROLL
    for (int e = 0; e < N; ++e)
      sums.element[e] =
          static_cast<Out>(activation(static_cast<float>(sums.element[e]) + static_cast<float>(added.element[e])));
  }
};

/// Where a block's sums go: columns [first_column, columns) of rows that lie anywhere.
template <class Out>
struct StoreTarget {
  Out* data;
  int first_column;
  int columns;
  bool whole;  ///< rows and columns allow 16-byte stores
  QuickActivation activation;
  std::ptrdiff_t pitch = 1;  ///< elements of a row, where rows are numbered
  AddedRows<Out> added{};
};

/// Writes a block's sums: through shared memory, so that each row is written in whole lines. offset_of(row) says where
/// the block's row begins, in `pitch` elements of the target; negative: nowhere.
template <class Tile, class Out, class Block, class PerThreadSums, class OffsetOf>
ULNA_HOST_DEVICE void store_sums(Block& block, PerThreadSums& sums, const StoreTarget<Out>& to,
                                 const OffsetOf& offset_of) {
  using Product = typename ProductOf<Tile>::type;
  constexpr int table = Tile::shared_bytes - Tile::table_bytes;
  constexpr int pitch = Tile::staging_pitch * static_cast<int>(sizeof(Out));
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Out));
  constexpr int groups = Tile::columns / vector;
  block.each([&](int thread) {
    for (int row = thread; row < Tile::rows; row += Tile::threads)
      block.store(thread, table + row * 8, static_cast<std::int64_t>(offset_of(row)));
    Product::each_pair(thread, sums[thread], [&](int row, int column, float x0, float x1) {
      const Pack<Out, 2> pair{{static_cast<Out>(to.activation(x0)), static_cast<Out>(to.activation(x1))}};
      block.store(thread, row * pitch + column * static_cast<int>(sizeof(Out)), pair);
    });
  });
  block.barrier();
  block.each([&](int thread) {
    const int column = thread % groups * vector;
    const int c = to.first_column + column;
    if (c >= to.columns) return;
    ULNA_KEEP_LOOP
    for (int row = thread / groups; row < Tile::rows; row += Tile::threads / groups) {
      const auto offset = block.template load<std::int64_t>(thread, table + row * 8);
      if (offset < 0) continue;
      auto from = block.template load<Pack<Out, vector>>(thread, row * pitch + column * static_cast<int>(sizeof(Out)));
      if (to.added.data != nullptr) to.added.add_to(from, offset, c, to.columns);
      Out* const at = to.data + offset * to.pitch + c;
      if (to.whole && c + vector <= to.columns) {
        *reinterpret_cast<Pack<Out, vector>*>(at) = from;
      } else {
        ULNA_UNROLL
        for (int e = 0; e < vector; ++e)
          if (c + e < to.columns) at[e] = from.element[e];
      }
    }
  });
}

/// A 2x2 window of a block's rows: the first of its rows, and where its maximum goes, as offset_of() of store_sums().
struct PooledWindow {
  int row;
  std::int64_t offset;
};

/// The maxima of 2x2 windows of what store_sums() has put into shared memory: of rows r, r + 1, r + line, r + line + 1.
/// window_at(i) for i < Tile::rows / 4.
template <class Tile, class Out, class Block, class WindowAt>
ULNA_HOST_DEVICE void store_pooled(Block& block, const StoreTarget<Out>& to, int line, const WindowAt& window_at) {
  constexpr int pitch = Tile::staging_pitch * static_cast<int>(sizeof(Out));
  constexpr int vector = chunk_bytes / static_cast<int>(sizeof(Out));
  constexpr int groups = Tile::columns / vector;
  block.each([&](int thread) {
    const int column = thread % groups * vector;
    const int c = to.first_column + column;
    if (c >= to.columns) return;
    ULNA_KEEP_LOOP
    for (int i = thread / groups; i < Tile::rows / 4; i += Tile::threads / groups) {
      const PooledWindow window = window_at(i);
      if (window.offset < 0) continue;
      float largest[vector];
      ULNA_UNROLL
      for (int e = 0; e < vector; ++e) largest[e] = -INFINITY;
      ULNA_UNROLL
      for (int p = 0; p < 4; ++p) {
        const int row = window.row + p / 2 * line + p % 2;
        const auto from =
            block.template load<Pack<Out, vector>>(thread, row * pitch + column * static_cast<int>(sizeof(Out)));
        ULNA_UNROLL
        for (int e = 0; e < vector; ++e) {
          const auto v = static_cast<float>(from.element[e]);
          largest[e] = v > largest[e] ? v : largest[e];
        }
      }
      Pack<Out, vector> pooled;
      ULNA_UNROLL
      for (int e = 0; e < vector; ++e) pooled.element[e] = static_cast<Out>(largest[e]);
      Out* const at = to.data + window.offset * to.pitch + c;
      if (to.whole && c + vector <= to.columns) {
        *reinterpret_cast<Pack<Out, vector>*>(at) = pooled;
      } else {
        ULNA_UNROLL
        for (int e = 0; e < vector; ++e)
          if (c + e < to.columns) at[e] = pooled.element[e];
      }
    }
  });
}

}  // namespace ulna::cuda
