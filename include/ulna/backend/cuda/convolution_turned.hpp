// SPDX-License-Identifier: MIT
// The gradient of a weight in tf32 products of warpgroups. Matrix instructions take floats from shared memory along the
// summed axis alone, and there it is pixels, which lie far apart. So both operands are turned on their way: those of
// the large image are read from their tile into registers, word by word, which is how the instruction takes its first
// operand; those of the small image pass through registers before they enter shared memory, in squares of four pixels
// by four channels.
#pragma once

#include <bit>
#include <cstdint>

#include "ulna/backend/cuda/convolution_hopper.hpp"
#include "ulna/backend/cuda/convolution_main_loop.hpp"
#include "ulna/backend/cuda/convolution_operand.hpp"
#include "ulna/backend/cuda/convolution_program.hpp"

namespace ulna::cuda {

/// Columns are channels of an image, terms are its pixels, as PixelColumns: of whole chunks, turned to lie along the
/// terms, rounded to tf32. Eight neighbouring threads hold two channels of 32 pixels: they fill two rows of a tile.
/// Each half of a tile's columns is loaded and stored by itself: so many registers are left.
template <class Tile>
class TurnedColumns {
  using Layout = typename Tile::BTile;
  using Pair = Pack<float, 2>;
  static constexpr int half_columns = Tile::columns / 2;
  static constexpr int chunks = Layout::chunks;  ///< of four pixels
  static_assert(Tile::depth == 4 * chunks && half_columns <= Tile::threads / chunks * 2);

 public:
  ULNA_HOST_DEVICE void begin(int first_column, int k, int thread) {
    column_ = first_column + thread / chunks * 2;
    row_ = k + thread % chunks * 4;
  }

  /// Asks for a half of the next step's columns: the first, then the second.
  ULNA_HOST_DEVICE void load(const Tensor<float>& x, int pixels, int thread, int half) {
    const int column = column_ + half * half_columns;
    const bool mine = thread / chunks * 2 < half_columns && column < x.shape.channels;
    ULNA_UNROLL
    for (int i = 0; i < 4; ++i)
      of_pixel_[i] = mine && row_ + i < pixels ? *reinterpret_cast<const Pair*>(row_of(x, row_ + i) + column) : Pair{};
    row_ += half * Tile::depth;
  }

  template <class Block>
  ULNA_HOST_DEVICE void store(Block& block, int thread, int tile, int half) const {
    const int first = thread / chunks * 2;
    if (first >= half_columns) return;
    ULNA_UNROLL
    for (int j = 0; j < 2; ++j) {
      Pack<std::uint32_t, 4> of_channel;
      ULNA_UNROLL
      for (int i = 0; i < 4; ++i)
        of_channel.element[i] = tf32_bits(std::bit_cast<std::uint32_t>(of_pixel_[i].element[j]));
      block.store(thread, tile + Layout::offset(half * half_columns + first + j, thread % chunks), of_channel);
    }
  }

 private:
  int column_ = 0, row_ = 0;
  Pair of_pixel_[4];
};

/// A step of a warpgroup's product whose first operand is in registers.
template <class Tile>
struct TurnedProduct {
  using Words = TensorCoreProduct<Tile>;
  static constexpr int step = WarpgroupProduct<Tile>::step;
  static constexpr int instructions = Tile::depth / step;
  static_assert(Tile::arithmetic == Arithmetic::tf32 && Tile::a_major == Major::mn && Tile::b_major == Major::k);

  struct Fragments {
    std::uint32_t a[instructions][4];
  };

  template <class Block>
  ULNA_HOST_DEVICE static void load(Block& block, Fragments& to, int thread, int stage) {
    ULNA_UNROLL
    for (int i = 0; i < instructions; ++i) ULNA_UNROLL
    for (int word = 0; word < 4; ++word)
      to.a[i][word] = tf32_bits(
          block.template load<std::uint32_t>(thread, stage + Words::a_word_offset(thread, 0, i * step, word)));
  }

  template <class Block, class PerThreadSums, class PerThreadFragments>
  ULNA_HOST_DEVICE static void add(Block& block, PerThreadSums& sums, PerThreadFragments& fragments, int stage) {
    block.begin_products();
    ULNA_UNROLL
    for (int i = 0; i < instructions; ++i)
      block.template multiply_warpgroups_by_words<Tile>(
          [&](int t) { return sums[t].block[0]; }, [&](int t) { return fragments[t].a[i]; },
          block.descriptor(stage + Tile::ATile::bytes + WarpgroupProduct<Tile>::b_offset(i * step), 16,
                           WarpgroupProduct<Tile>::group_bytes));
    block.commit_products();
  }
};

/// Sums `steps` steps, as sum_products(). fetch(thread, stage) copies a thread's part of the first operand's tile; `b`
/// turns that of the second, load(thread, half) ahead.
///
/// The barrier of a step says that both tiles are there, and that everybody has read the first operand of the step
/// before, whose memory the next copies overwrite. The second operand's memory was last read by the product before that
/// one, or earlier. While a step's products are under way, the next step's tiles are filled; but the registers of the
/// first operand are theirs.
template <class Tile, class Block, class PerThreadSums, class PerThreadColumns, class Fetch, class Load>
ULNA_HOST_DEVICE void sum_turned(Block& block, PerThreadSums& sums, PerThreadColumns& b, int steps, const Fetch& fetch,
                                 const Load& load) {
  using Product = WarpgroupProduct<Tile>;
  constexpr int ahead = Tile::stages - 1;
  static_assert(Tile::stages >= 3);
  const auto stage_of = [](int step) { return step % Tile::stages * Tile::stage_bytes; };
  const auto ask_for = [&](int step) {
    if (step < steps) block.each([&](int thread) { fetch(thread, stage_of(step)); });
    block.commit();
  };
  const auto store_half = [&](int step, int half) {
    block.each([&](int thread) { b[thread].store(block, thread, stage_of(step) + Tile::ATile::bytes, half); });
  };
  typename Block::template PerThread<typename TurnedProduct<Tile>::Fragments> fragments;
  block.each([&](int thread) { load(thread, 0); });
  ULNA_KEEP_LOOP
  for (int step = 0; step < ahead; ++step) ask_for(step);
  store_half(0, 0);
  block.each([&](int thread) { load(thread, 1); });
  Product::settle(block, sums);
  ULNA_KEEP_LOOP
  for (int step = 0; step < steps; ++step) {
    store_half(step, 1);
    block.template wait<ahead - 1>();
    block.publish();
    block.barrier();
    ask_for(step + ahead);
    block.template wait_products<0>();
    block.each([&](int thread) { TurnedProduct<Tile>::load(block, fragments[thread], thread, stage_of(step)); });
    block.each([&](int thread) { load(thread, 0); });  // no sooner, or registers run out
    TurnedProduct<Tile>::add(block, sums, fragments, stage_of(step));
    store_half(step + 1, 0);
    block.each([&](int thread) { load(thread, 1); });
  }
  Product::finish(block, sums);
  block.template wait<0>();
  block.barrier();
}

/// The gradient of a weight, as WeightGradientProgram.
template <class Tile_>
struct TurnedWeightGradientProgram {
  using Tile = Tile_;
  static constexpr int resident_blocks = Tile::resident_blocks;

  Tensor<float> large, small;
  PhaseWalk walk;  ///< of the windows in `large`, one for each pixel of `small`
  float* partial;
  int partial_pitch;
  int steps_per_split;
  int column_tiles;

  template <class Block>
  ULNA_HOST_DEVICE void operator()(Block& block, const BlockIndex& index) const {
    const PhaseWalk& w = walk;
    const int rows = w.taps() * large.shape.channels;
    const int pixels = small.batch * w.pixels();
    const int first_row = index.tile / column_tiles * Tile::rows;
    const int first_column = index.tile % column_tiles * Tile::columns;
    const SplitRange range(ceil_div(pixels, Tile::depth), steps_per_split, index.split);

    typename Block::template PerThread<GatherColumns<Tile, true>> a;
    typename Block::template PerThread<TurnedColumns<Tile>> b;
    typename Block::template PerThread<typename WarpgroupProduct<Tile>::Sums> sums;
    block.each([&](int t) {
      a[t].begin(large, w, first_row, range.begin * Tile::depth, t);
      b[t].begin(first_column, range.begin * Tile::depth, t);
    });
    sum_turned<Tile>(
        block, sums, b, range.end - range.begin, [&](int t, int stage) { a[t].load(block, large, w, t, stage); },
        [&](int t, int half) { b[t].load(small, pixels, t, half); });
    const StoreTarget<float> to{partial, first_column, small.shape.channels, true, {}};
    store_sums<Tile>(block, sums, to, [&](int row) -> std::ptrdiff_t {
      if (first_row + row >= rows) return -1;
      return (std::ptrdiff_t{index.split} * rows + first_row + row) * partial_pitch;
    });
  }
};

}  // namespace ulna::cuda
