// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"

namespace ulna {

/// What the blocks of one network have in common.
template <class PaddingPolicy = padding::Same, class Norm = norm::Batch, class Act = activation::ReLU,
          class Drop = dropout::None, bool ConvBias = !Norm::present>
struct Style {
  using padding_policy = PaddingPolicy;
  using norm_layer = Norm;
  using activation_layer = Act;
  using dropout_layer = Drop;
  static constexpr Padding padding = padding_of<PaddingPolicy>;
  static constexpr bool bias = ConvBias;  ///< by default only where no norm follows, which would cancel it
};

/// (3x3 convolution, norm, activation) twice: the block of the U-Net.
template <class S = Style<>>
struct ConvBlock {
  static constexpr Value lower(Builder& b, Value x, int channels) { return lower(b, x, channels, channels); }

  /// `middle`: channels between the two convolutions.
  static constexpr Value lower(Builder& b, Value x, int channels, int middle) {
    layer::ConvOptions o{.channels = middle, .kernel = 3, .padding = S::padding, .bias = S::bias};
    x = layer::conv(b, x, o, "conv1");
    x = S::activation_layer::lower(b, S::norm_layer::lower(b, x, "norm1"));
    o.channels = channels;
    x = layer::conv(b, x, o, "conv2");
    x = S::activation_layer::lower(b, S::norm_layer::lower(b, x, "norm2"));
    return S::dropout_layer::lower(b, x);
  }
};

/// (3x3 convolution, norm, activation, dropout of one half) twice, at every level: the block of the U-Nets in the code
/// of the U-Net++ paper's authors. Parameters as in ConvBlock.
template <class S = Style<>>
struct DropoutConvBlock {
  static constexpr Value lower(Builder& b, Value x, int channels) { return lower(b, x, channels, channels); }

  static constexpr Value lower(Builder& b, Value x, int channels, int middle) {
    layer::ConvOptions o{.channels = middle, .kernel = 3, .padding = S::padding, .bias = S::bias};
    x = layer::conv(b, x, o, "conv1");
    x = Dropout<>::lower(b, S::activation_layer::lower(b, S::norm_layer::lower(b, x, "norm1")));
    o.channels = channels;
    x = layer::conv(b, x, o, "conv2");
    return Dropout<>::lower(b, S::activation_layer::lower(b, S::norm_layer::lower(b, x, "norm2")));
  }
};

}  // namespace ulna
