// SPDX-License-Identifier: MIT
// Convolution 1x1 of stride 1, and its adjoint: one product [pixel][channel] x [channel][output]. So is each tap of a
// transposed convolution whose kernel is its stride, whose outputs of a tap lie a stride apart. Pixels are read where
// they lie, and a block of weights stays in the nearest caches while a tile of pixels passes; the next one is on its
// way from memory meanwhile.
//
// Each output is one chain of multiply-adds over the channels, or of sums over pairs of bf16 channels, then bias and
// activation: the bits of the direct convolution, wherever the pixel lies.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "ulna/backend/tbb/epilogue.hpp"
#include "ulna/backend/tbb/matrix_product.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/pixel_weights.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

template <class Isa, class T>
struct PixelProductPlan {
  static constexpr int W = Isa::width;
  static constexpr bool pairs = std::is_same_v<T, bf16>;
  static constexpr int channel_block = pairs ? 384 : 192;  ///< times output_block: 48 KB
  static constexpr int output_block = weight_block;
  static constexpr int most_pixels = 256;
  static constexpr int least_pixels = 48;  ///< that pay for packing a block of weights

  std::ptrdiff_t pixels;  ///< of all samples
  int channels, outputs;
  Extent taps;
  Extent read, written;  ///< extents of the maps

  explicit PixelProductPlan(const Call<T>& call)
      : pixels(call.input[0].pixels() * call.batch),
        channels(call.input[0].shape.channels),
        outputs(call.output.shape.channels),
        taps(call.node->window.kernel),
        read(call.input[0].shape.extent()),
        written(call.output.shape.extent()) {}

  /// Whether a convolution is such products. Fewer outputs than half a vector are better off with lanes of pixels.
  static bool fits(const Call<T>& call) {
    if constexpr (pairs)
      if (PairBlocks<Isa>::pads_rows || call.input[0].shape.channels % 2 != 0) return false;
    const Window& w = call.node->window;
    const auto uniform = [](const Tensor<T>& x) {
      return x.batch <= 1 || x.sample_stride == x.pixels() * x.pixel_stride;
    };
    const Extent read = call.input[0].shape.extent();
    const bool apart = call.node->op == Op::transposed_convolution && w.kernel == w.stride && w.kernel.depth == 1 &&
                       call.node->residual == ResidualSum::none && call.pool == nullptr;
    const bool single = w.taps() == 1 && w.stride == Extent{1, 1, 1};
    const Extent all{read.depth, read.height * w.stride.height, read.width * w.stride.width};
    return (single || apart) && call.output.shape.extent() == all && w.pad_before == Extent{0, 0, 0} &&
           call.output.shape.channels > W / 2 && uniform(call.input[0]) && uniform(call.output) &&
           uniform(call.input[residual_input]);
  }

  /// Neighbours of the input, from pixel `p` of all samples on, whose outputs of a tap lie one distance apart.
  std::ptrdiff_t together(std::ptrdiff_t p) const {
    return taps.volume() == 1 ? pixels - p : read.width - p % read.width;
  }
  /// The output that a tap gives for pixel `p`, among those of all samples.
  std::ptrdiff_t output_of(std::ptrdiff_t p, int tap) const {
    if (taps.volume() == 1) return p;
    const std::ptrdiff_t row = p / read.width * taps.height + tap / taps.width;
    return row * written.width + p % read.width * taps.width + tap % taps.width;
  }

  /// Of each tap.
  int output_blocks() const { return (outputs + output_block - 1) / output_block; }
  int blocks() const { return output_blocks() * static_cast<int>(taps.volume()); }
  /// Enough tiles to keep the threads busy. Any number gives the same results.
  int tiles(int threads) const {
    const std::ptrdiff_t wanted = (4 * threads + blocks() - 1) / blocks();
    const std::ptrdiff_t paying = pixels / least_pixels;
    return static_cast<int>(
        std::max<std::ptrdiff_t>((pixels + most_pixels - 1) / most_pixels, std::min(wanted, paying)));
  }

  int steps() const { return (channels + channel_block - 1) / channel_block; }
  /// Block number `step` of the channels, for block `block` of all taps' outputs.
  WeightBlock block(int step, int block) const {
    const int c0 = step * channel_block;
    const int k0 = block % output_blocks() * output_block;
    return {c0, std::min(channel_block, channels - c0), k0, std::min(output_block, outputs - k0),
            block / output_blocks()};
  }

  static constexpr std::size_t weight_bytes = sizeof(T) * channel_block * output_block;
  static constexpr std::size_t thread_bytes = weight_bytes + sizeof(float) * most_pixels * output_block;
};

template <class Isa, class T>
void pixel_product(const Call<T>& call) {
  using Plan = PixelProductPlan<Isa, T>;
  const Plan plan(call);
  const detail::PixelWeights<Isa, T> weight(call);
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const int blocks = plan.blocks();
  const int tiles = plan.tiles(thread_count());
  parallel_tasks<Isa>(tiles * blocks, [&](int task) {
    std::byte* scratch = scratch_piece<std::byte>(call.scratch, 0, Plan::thread_bytes, thread_slot());
    T* const packed = take_piece<T>(scratch, Plan::weight_bytes);
    float* const sums = reinterpret_cast<float*>(scratch);
    const Range tile = part_of(plan.pixels, tiles, task / blocks);
    const auto pixels = static_cast<int>(tile.size());
    for (int step = 0; step < plan.steps(); ++step) {
      const bool last = step + 1 == plan.steps();
      const WeightBlock block = plan.block(step, task % blocks);
      const int width = (block.outputs + Isa::width - 1) / Isa::width * Isa::width;
      const T* values = packed;
      if (weight.packed())
        values = weight.at(block);
      else
        weight.pack(block, packed, width);
      auto coming = weight.prefetch_of(last ? plan.block(0, (task + 1) % blocks) : plan.block(step + 1, task % blocks),
                                       std::max(1, pixels / 8));
      const auto done = [&](int first, int k, int rows, int lanes) {
        coming.advance();
        const int valid = std::min(lanes, block.outputs - k);
        for (int p = first; last && p < first + rows;) {
          const auto together =
              static_cast<int>(std::min<std::ptrdiff_t>(plan.together(tile.begin + p), first + rows - p));
          const std::ptrdiff_t at = plan.output_of(tile.begin + p, block.tap);
          const Epilogue<Isa, T> epilogue(call, 0, at, block.k0 + k);
          epilogue.finish(sums + std::ptrdiff_t{p} * width + k, width, y.data + at * y.pixel_stride + block.k0 + k,
                          y.pixel_stride * plan.taps.width, together, valid);
          p += together;
        }
      };
      const T* from = x.data + tile.begin * x.pixel_stride + block.c0;
      if constexpr (Plan::pairs)
        multiply_pairs<Isa>(from, x.pixel_stride, values, 2 * width, block.channels / 2, sums, width, pixels, width,
                            step > 0, done);
      else
        multiply<Isa, true>({from, x.pixel_stride, 1}, values, width, block.channels, sums, width, pixels, width,
                            step > 0, done);
    }
  });
}

template <class Isa, class T>
std::size_t pixel_product_bytes(int threads) {
  return PixelProductPlan<Isa, T>::thread_bytes * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
