// SPDX-License-Identifier: MIT
// How the weight gradient of a convolution is cut into tasks and blocks: sizes only, no data.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/outer_products.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// g[t][l][s] = sum over pixels p of large[p stride + t dilation - pad][l] small[p][s].
///
/// Register blocks are some channels of one operand (`rows`) by vectors of channels of the other (`lanes`); pixels are
/// the inner loop. A task owns a block of both and a band of the pixels, which it packs chunk by chunk with zero
/// borders. With several bands, their partial sums are added in the order of the bands. All of it depends on the shapes
/// and the batch alone.
template <class Isa>
struct WeightGradientPlan {
  static constexpr int W = Isa::width;
  static constexpr int most_channels = 64;
  static constexpr int most_rows_of_a_tap = 192;  // where a task has one tap, more rows pay for packing the lanes
  static constexpr int chunk_pixels = 512;
  static constexpr std::ptrdiff_t most_sums = 76'000;         // of one task, in a 1 MB L2 cache beside the chunk
  static constexpr std::ptrdiff_t most_partials = 4'000'000;  // of all bands

  Window window;
  Shape large, small;
  int batch, taps;
  bool rows_are_large;  ///< which operand's channels are the rows
  bool unfolded;        ///< rows are (tap, channel of large) pairs: few channels would leave the registers empty
  int rows, lanes;      ///< in all
  int row_block, lane_block;
  int unfolded_channels;  ///< from one pixel of the unfolded chunk to the next: room to copy in vectors of four
  int sum_taps;           ///< taps that a task loops over: 1 if unfolded
  int chunk_width, chunk_height, chunks_x, chunks_y;
  int large_width, large_height, large_channels, small_channels;  ///< of a packed chunk
  int bands;

  explicit WeightGradientPlan(const Call<float>& call)
      : window(call.node->window),
        large(call.input[0].shape),
        small(call.input[1].shape),
        batch(call.batch),
        taps(window.taps()) {
    plan_operands(call.node->swap_channels);
    plan_chunks();
    plan_bands();
  }

  int row_blocks() const { return (rows + row_block - 1) / row_block; }
  int lane_blocks() const { return (lanes + lane_block - 1) / lane_block; }
  int chunks() const { return batch * chunks_y * chunks_x; }
  std::ptrdiff_t sums() const { return std::ptrdiff_t{sum_taps} * row_block * lane_block; }
  std::ptrdiff_t gradient_size() const { return std::ptrdiff_t{taps} * large.channels * small.channels; }

  std::size_t sum_bytes() const { return floats(sums()); }
  std::size_t large_bytes() const { return floats(std::ptrdiff_t{large_height} * large_width * large_channels + W); }
  std::size_t small_bytes() const { return floats(std::ptrdiff_t{chunk_height} * chunk_width * small_channels + W); }
  std::size_t unfolded_bytes() const {
    return unfolded ? floats(std::ptrdiff_t{chunk_height} * chunk_width * unfolded_channels + W) : 0;
  }
  std::size_t table_bytes() const {
    return aligned_bytes(static_cast<std::size_t>(chunk_height) * sizeof(std::ptrdiff_t));
  }
  std::size_t thread_bytes() const {
    return sum_bytes() + large_bytes() + unfolded_bytes() + small_bytes() + 2 * table_bytes();
  }
  std::size_t band_bytes() const { return bands > 1 ? floats(gradient_size()) : 0; }

 private:
  static std::size_t floats(std::ptrdiff_t n) { return aligned_bytes(static_cast<std::size_t>(n) * sizeof(float)); }

  void plan_operands(bool swapped) {
    // Lanes along the gradient's fastest axis, unless that would leave most of a vector empty.
    rows_are_large = !swapped;
    const int fastest = swapped ? large.channels : small.channels;
    const int other = swapped ? small.channels : large.channels;
    if (fastest < W && other > fastest) rows_are_large = !rows_are_large;
    unfolded = rows_are_large && large.channels <= 4 && taps > 1 && taps * large.channels <= 1024;
    rows = (rows_are_large ? large.channels : small.channels) * (unfolded ? taps : 1);
    lanes = rows_are_large ? small.channels : large.channels;
    sum_taps = unfolded ? 1 : taps;
    lane_block = std::min((lanes + W - 1) / W * W, most_channels);
    const std::ptrdiff_t fitting = most_sums / (std::ptrdiff_t{sum_taps} * lane_block);
    row_block = std::min(rows, static_cast<int>(std::clamp<std::ptrdiff_t>(
                                   fitting, 12, sum_taps == 1 ? most_rows_of_a_tap : most_channels)));
    if (unfolded) row_block = rows;
    unfolded_channels = rows + 3;
  }

  void plan_chunks() {
    chunks_x = (small.width + 63) / 64;
    chunk_width = (small.width + chunks_x - 1) / chunks_x;
    const int most_height = std::max(chunk_pixels / chunk_width, 1);
    chunks_y = (small.height + most_height - 1) / most_height;
    chunk_height = (small.height + chunks_y - 1) / chunks_y;
    large_height = (chunk_height - 1) * window.stride.height + span_of(window.kernel.height, window.dilation.height);
    large_width = (chunk_width - 1) * window.stride.width + span_of(window.kernel.width, window.dilation.width);
    large_channels = unfolded ? large.channels : rows_are_large ? row_block : lane_block;
    small_channels = rows_are_large ? lane_block : row_block;
  }

  void plan_bands() {
    const std::ptrdiff_t pixels = batch * static_cast<std::ptrdiff_t>(small.pixels());
    const std::ptrdiff_t others = std::ptrdiff_t{row_blocks()} * lane_blocks();
    const std::ptrdiff_t wanted = (64 + others - 1) / others;
    const std::ptrdiff_t holding = most_partials / gradient_size();
    const int most = static_cast<int>(std::clamp<std::ptrdiff_t>(std::min(wanted, holding), 1, chunks()));
    bands = fixed_parts(pixels, chunk_pixels, most);
  }
};

}  // namespace ulna::tbb_kernels
