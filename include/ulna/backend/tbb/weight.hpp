// SPDX-License-Identifier: MIT
// The weight of a convolution where it lies in memory.
#pragma once

#include <cstddef>

#include "ulna/backend/tensor.hpp"

namespace ulna::tbb_kernels {

/// A part of a weight: channels [c0, c0 + channels) of outputs [k0, k0 + outputs), of one tap or of all.
struct WeightBlock {
  int c0 = 0, channels = 0, k0 = 0, outputs = 0;
  int tap = 0;
};

/// A weight of floats, in any order of WeightOrder. (Of pair_blocks this knows only where they begin.)
struct WeightView {
  const float* data;
  std::ptrdiff_t channels, outputs;
  int taps;
  bool swapped;  ///< [tap][output][channel]
  bool blocks;

  template <class T>
  explicit WeightView(const Call<T>& call)
      : data(held_as<const float>(call.input[1]).data),
        channels(call.input[0].shape.channels),
        outputs(call.output.shape.channels),
        taps(call.node->window.taps()),
        swapped(call.node->swap_channels),
        blocks(call.node->weight_order == WeightOrder::blocks) {}

  const float* at(std::ptrdiff_t tap, std::ptrdiff_t channel, std::ptrdiff_t output) const {
    if (blocks)
      return data + ((output / weight_block * channels + channel) * taps + tap) * weight_block + output % weight_block;
    return data + tap * channels * outputs + (swapped ? output * channels + channel : channel * outputs + output);
  }
  /// From a tap, and from a channel, to the next.
  std::ptrdiff_t tap_step() const { return blocks ? weight_block : channels * outputs; }
  std::ptrdiff_t channel_step() const { return blocks ? taps * weight_block : swapped ? 1 : outputs; }
};

}  // namespace ulna::tbb_kernels
