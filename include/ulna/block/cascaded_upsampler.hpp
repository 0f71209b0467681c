// SPDX-License-Identifier: MIT
// The decoder of TransUNet (Chen et al. 2021, section 3.2): from the token map to the image, doubling step by step.
#pragma once

#include "ulna/block/attn_gate.hpp"
#include "ulna/block/conv_block.hpp"
#include "ulna/block/skip.hpp"
#include "ulna/layer/resample.hpp"

namespace ulna {

/// One 3x3 convolution, norm, activation: the decoder block that the TransUNet paper describes (its code has two
/// convolutions, ConvBlock).
template <class S = Style<>>
struct SingleConvBlock {
  static constexpr Value lower(Builder& b, Value x, int channels) {
    x = layer::conv(b, x, {.channels = channels, .kernel = 3, .padding = S::padding, .bias = S::bias});
    x = S::activation_layer::lower(b, S::norm_layer::lower(b, x));
    return S::dropout_layer::lower(b, x);
  }
};

/// As many steps as Channels has numbers, each: double the extent, join the skip of that level if there is one, a
/// block. Module path decoder[steps - 1] ... decoder[0], as in the U-Net: decoder[level] ends at the image's extent
/// over 2^level.
template <class Block, class Up, class Skip, class Gate, int... Channels>
struct CascadedUpsampler {
  static constexpr int steps = static_cast<int>(sizeof...(Channels));

  /// `skips[level]` is joined on that level, unless it is empty or the list shorter.
  template <int Capacity>
  static constexpr Value lower(Builder& b, Value x, const FixedVector<Value, Capacity>& skips) {
    constexpr int channels[] = {Channels...};
    for (int level = steps - 1; level >= 0; --level) {
      const auto s = b.scope("decoder", level);
      const int width = channels[steps - 1 - level];
      const Value below = x;
      x = Up::lower(b, x, width);
      if (level < skips.size() && skips[level]) x = Skip::join(b, x, Gate::lower(b, skips[level], x, below, level));
      x = Block::lower(b, x, width);
    }
    return x;
  }
};

}  // namespace ulna
