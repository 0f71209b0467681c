// SPDX-License-Identifier: MIT
// Convolution 1x1 of stride 1, and its adjoint: one product [pixel][channel] x [channel][output]. Pixels are read where
// they lie, and a block of weights stays in the nearest cache while a tile of pixels passes.
//
// Each output is one chain of multiply-adds over the channels, then bias and activation: the bits of the direct
// convolution, wherever the pixel lies.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ulna/backend/tbb/epilogue.hpp"
#include "ulna/backend/tbb/matrix_product.hpp"
#include "ulna/backend/tbb/parallel.hpp"
#include "ulna/backend/tbb/transpose.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

template <class Isa>
struct PixelProductPlan {
  static constexpr int W = Isa::width;
  static constexpr int channel_block = 96;  ///< times output_block: 24 of the 32 KB of a nearest cache
  static constexpr int output_block = 64;
  static constexpr int most_pixels = 256;
  static constexpr int least_pixels = 48;  ///< that pay for packing a block of weights

  std::ptrdiff_t pixels;  ///< of all samples
  int channels, outputs;

  explicit PixelProductPlan(const Call<float>& call)
      : pixels(call.output.pixels() * call.batch),
        channels(call.input[0].shape.channels),
        outputs(call.output.shape.channels) {}

  /// Whether a convolution is such a product. Fewer outputs than half a vector are better off with lanes of pixels.
  static bool fits(const Call<float>& call) {
    const Window& w = call.node->window;
    const auto uniform = [](const Tensor<float>& x) {
      return x.batch <= 1 || x.sample_stride == x.pixels() * x.pixel_stride;
    };
    return w.taps() == 1 && w.stride == Extent{1, 1, 1} && call.input[0].shape.extent() == call.output.shape.extent() &&
           w.pad_before == Extent{0, 0, 0} && call.output.shape.channels > W / 2 && uniform(call.input[0]) &&
           uniform(call.output) && uniform(call.input[residual_input]);
  }

  int output_blocks() const { return (outputs + output_block - 1) / output_block; }
  /// Enough tiles to keep the threads busy. Any number gives the same results.
  int tiles(int threads) const {
    const std::ptrdiff_t wanted = (8 * threads + output_blocks() - 1) / output_blocks();
    const std::ptrdiff_t paying = pixels / least_pixels;
    return static_cast<int>(
        std::max<std::ptrdiff_t>((pixels + most_pixels - 1) / most_pixels, std::min(wanted, paying)));
  }

  static constexpr std::ptrdiff_t weight_floats = std::ptrdiff_t{channel_block} * output_block;
  static constexpr std::ptrdiff_t sum_floats = std::ptrdiff_t{most_pixels} * output_block;
  static constexpr std::size_t thread_bytes = sizeof(float) * static_cast<std::size_t>(weight_floats + sum_floats);
};

namespace detail {

/// Channels [c0, c0 + channels) and outputs [k0, k0 + outputs) of a 1x1 weight as [channel][output], zeros up to
/// `width`.
template <class Isa>
void pack_pixel_weights(const Call<float>& call, int c0, int channels, int k0, int outputs, float* to, int width) {
  using V = FloatVec<Isa>;
  const std::ptrdiff_t all_channels = call.input[0].shape.channels;
  const std::ptrdiff_t all_outputs = call.output.shape.channels;
  if (call.node->swap_channels) {
    transpose<Isa>(call.input[1].data + k0 * all_channels + c0, all_channels, outputs, channels, to, width);
    for (int c = 0; c < channels && outputs < width; ++c)
      std::fill(to + c * width + outputs, to + (c + 1) * width, 0.0f);
    return;
  }
  const float* from = call.input[1].data + c0 * all_outputs + k0;
  for (int c = 0; c < channels; ++c, from += all_outputs, to += width) {
    int k = 0;
    for (; k + V::width <= outputs; k += V::width) V::load(from + k).store(to + k);
    if (k < outputs) V::load_partial(from + k, outputs - k).store(to + k);
  }
}

}  // namespace detail

template <class Isa>
void pixel_product(const Call<float>& call) {
  using Plan = PixelProductPlan<Isa>;
  const Plan plan(call);
  const Tensor<float>& x = call.input[0];
  const Tensor<float>& y = call.output;
  const int blocks = plan.output_blocks();
  const int tiles = plan.tiles(thread_count());
  parallel_tasks<Isa>(tiles * blocks, [&](int task) {
    float* weights = scratch_piece<float>(call.scratch, 0, Plan::thread_bytes, thread_slot());
    float* sums = weights + Plan::weight_floats;
    const Range tile = part_of(plan.pixels, tiles, task / blocks);
    const int k0 = task % blocks * Plan::output_block;
    const int outputs = std::min(Plan::output_block, plan.outputs - k0);
    const int width = (outputs + Isa::width - 1) / Isa::width * Isa::width;
    const auto pixels = static_cast<int>(tile.size());
    for (int c0 = 0; c0 < plan.channels; c0 += Plan::channel_block) {
      const int channels = std::min(Plan::channel_block, plan.channels - c0);
      detail::pack_pixel_weights<Isa>(call, c0, channels, k0, outputs, weights, width);
      multiply<Isa, true>({x.data + tile.begin * x.pixel_stride + c0, x.pixel_stride, 1}, weights, width, channels,
                          sums, width, pixels, width, c0 > 0);
    }
    const Epilogue<Isa, float> finish(call, 0, tile.begin, k0);
    finish.finish(sums, width, y.data + tile.begin * y.pixel_stride + k0, y.pixel_stride, pixels, outputs);
  });
}

template <class Isa>
std::size_t pixel_product_bytes(int threads) {
  return PixelProductPlan<Isa>::thread_bytes * static_cast<std::size_t>(threads);
}

}  // namespace ulna::tbb_kernels
