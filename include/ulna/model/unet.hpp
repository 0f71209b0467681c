// SPDX-License-Identifier: MIT
// U-Net (Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015).
#pragma once

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/block/conv_block.hpp"
#include "ulna/layer/resample.hpp"

namespace ulna {

struct classes_question {};
struct width_question {};
struct depth_question {};
struct bias_question {};
struct blocks_question {};

/// Logits a pixel: 2 for foreground and background with cross-entropy, 1 for binary cross-entropy.
template <int Count>
struct Classes {
  using option = classes_question;
  static constexpr int value = Count;
};
/// Channels of the first level; each level down doubles them.
template <int Channels>
struct Width {
  using option = width_question;
  static constexpr int value = Channels;
};
/// How often the extent is halved.
template <int Count>
struct Depth {
  using option = depth_question;
  static constexpr int value = Count;
};
/// Whether convolutions in front of a norm keep their bias.
template <bool Present>
struct ConvBias {
  using option = bias_question;
  static constexpr bool value = Present;
};
/// The block of every level, given the network's Style: `Blocks<ConvBlock>`.
template <template <class> class BlockOf>
struct Blocks {
  using option = blocks_question;
  template <class S>
  using block = BlockOf<S>;
};

/// How a decoder joins what comes up with the skip from the encoder.
namespace skip {
struct question {};

/// Channels side by side, the skip first as in today's code, cropped to what came up.
struct Concat {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::concat(b, op::crop(b, from_encoder, b.shape(up).extent()), up);
  }
};
/// Channels side by side, what came up first.
struct ConcatUpFirst {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::concat(b, up, op::crop(b, from_encoder, b.shape(up).extent()));
  }
};
/// Their sum.
struct Sum {
  using option = question;
  static constexpr Value join(Builder& b, Value up, Value from_encoder) {
    return op::add(b, up, op::crop(b, from_encoder, b.shape(up).extent()));
  }
};
}  // namespace skip

/// The U-Net. Options, in any order (default first):
///   Classes<2>, Width<64>, Depth<4>
///   padding::Same | Valid (572 -> 388 as in the paper) | Reflect
///   norm::Batch | Instance<> | Group<> | None
///   activation::ReLU | LeakyReLU<> | ...
///   down::MaxPool | StridedConv | AveragePool
///   up::Transposed | NearestConv<> | BilinearConv<>
///   skip::Concat | ConcatUpFirst | Sum
///   dropout: Dropout<rate> at the end of the contracting path (the two deepest levels), or none
///   Blocks<ConvBlock>, or any block
/// Module path: encoder[0..Depth-1], bottleneck, decoder[Depth-1..0], head.
template <Option... Options>
struct UNet {
  static constexpr const char* name = "UNet";
  static constexpr int classes = pick<classes_question, Classes<2>, Options...>::value;
  static constexpr int width = pick<width_question, Width<64>, Options...>::value;
  static constexpr int depth = pick<depth_question, Depth<4>, Options...>::value;
  using Padding = pick<padding::question, padding::Same, Options...>;
  using Norm = pick<norm::question, norm::Batch, Options...>;
  using Act = pick<activation::question, activation::ReLU, Options...>;
  using Down = pick<down::question, down::MaxPool, Options...>;
  using Up = pick<up::question, up::Transposed, Options...>;
  using Skip = pick<skip::question, skip::Concat, Options...>;
  using Drop = pick<dropout::question, dropout::None, Options...>;
  static constexpr bool conv_bias = pick<bias_question, ConvBias<!Norm::present>, Options...>::value;
  using BlockOf = pick<blocks_question, Blocks<ConvBlock>, Options...>;

  static_assert(classes >= 1 && width >= 1 && depth >= 1, "UNet: Classes, Width and Depth must be at least 1");
  static_assert(depth <= 8, "UNet: Depth above 8 divides the image by more than 256");
  static_assert(answers<classes_question, Options...> + answers<width_question, Options...> +
                        answers<depth_question, Options...> + answers<padding::question, Options...> +
                        answers<norm::question, Options...> + answers<activation::question, Options...> +
                        answers<down::question, Options...> + answers<up::question, Options...> +
                        answers<skip::question, Options...> + answers<dropout::question, Options...> +
                        answers<bias_question, Options...> + answers<blocks_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "UNet: an option answers a question that U-Nets do not ask");

  using Plain = typename BlockOf::template block<Style<Padding, Norm, Act, dropout::None, conv_bias>>;
  using Deep = typename BlockOf::template block<Style<Padding, Norm, Act, Drop, conv_bias>>;

  /// {image channels, H, W} -> logits {classes, H', W'}.
  static constexpr Value lower(Builder& b, Value x) {
    FixedVector<Value, 8> skips;
    for (int level = 0; level < depth; ++level) {
      const auto s = b.scope("encoder", level);
      x = level == depth - 1 ? Deep::lower(b, x, width << level) : Plain::lower(b, x, width << level);
      skips.push_back(x);
      x = Down::lower(b, x);
    }
    {
      const auto s = b.scope("bottleneck");
      x = Deep::lower(b, x, width << depth);
    }
    for (int level = depth - 1; level >= 0; --level) {
      const auto s = b.scope("decoder", level);
      x = Up::lower(b, x, width << level);
      x = Skip::join(b, x, skips[level]);
      x = Plain::lower(b, x, width << level);
    }
    return layer::conv(b, x, {.channels = classes, .kernel = 1, .padding = ulna::Padding::valid}, "head");
  }
};

}  // namespace ulna
