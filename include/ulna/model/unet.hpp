// SPDX-License-Identifier: MIT
// U-Net (Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015).
#pragma once

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/block/attn_gate.hpp"
#include "ulna/block/conv_block.hpp"
#include "ulna/block/skip.hpp"
#include "ulna/layer/resample.hpp"
#include "ulna/model/options.hpp"

namespace ulna {

struct narrow_question {};
struct head_question {};

/// The bottleneck and the decoder's results have half the channels: milesial's form for bilinear upsampling, which does
/// not halve them itself.
struct Narrow {
  using option = narrow_question;
  static constexpr bool value = true;
};
struct FullWidth {
  using option = narrow_question;
  static constexpr bool value = false;
};

/// From features to logits.
namespace head {
/// One 1x1 convolution.
struct Linear {
  using option = head_question;
  static constexpr Value lower(Builder& b, Value x, int classes) {
    return layer::conv(b, x, {.channels = classes, .kernel = 1, .padding = Padding::valid}, "head");
  }
};
/// A 3x3 convolution to two channels, ReLU, then 1x1 (zhixuhao/unet). Training can die in its ReLU; it is here for
/// weights that exist.
struct TwoChannels {
  using option = head_question;
  static constexpr Value lower(Builder& b, Value x, int classes) {
    const auto s = b.scope("head");
    x = activation::ReLU::lower(b, layer::conv(b, x, {.channels = 2, .kernel = 3}, "conv"));
    return layer::conv(b, x, {.channels = classes, .kernel = 1, .padding = Padding::valid}, "linear");
  }
};
}  // namespace head

/// The U-Net. Options, in any order (default first):
///   Classes<2>, Width<64> | Widths<64, 128, ...>, Depth<4>
///   padding::Same | Valid (572 -> 388 as in the paper) | Reflect
///   norm::Batch | Instance<> | Group<> | None
///   activation::ReLU | LeakyReLU<> | ...
///   down::MaxPool | StridedConv | AveragePool
///   up::Transposed | NearestConv<> | NearestBlock<> | BilinearConv<> | Bilinear<>; FullWidth | Narrow
///   skip::Concat | ConcatUpFirst | Sum | None
///   gate::None | Popular<> | Grid<> (block/attn_gate.hpp)
///   odd::Refuse | Pad
///   head::Linear | TwoChannels
///   dropout: Dropout<rate> at the end of the contracting path (the two deepest levels), or none
///   Blocks<ConvBlock> | R2Blocks<> (model/r2_unet.hpp) | Blocks<any block>
/// Module path: encoder[0..Depth-1], bottleneck, decoder[Depth-1..0], head.
template <Option... Options>
struct UNet {
  static constexpr const char* name = "UNet";
  static constexpr int classes = pick<classes_question, Classes<2>, Options...>::value;
  using Channels = pick<width_question, Width<64>, Options...>;
  static constexpr int depth = depth_of<Channels, pick<depth_question, Depth<4>, Options...>, Options...>();
  using Padding = pick<padding::question, padding::Same, Options...>;
  using Norm = norm_of<Options...>;
  using Act = activation_of<Options...>;
  using Down = pick<down::question, down::MaxPool, Options...>;
  using Up = pick<up::question, up::Transposed, Options...>;
  using Skip = pick<skip::question, skip::Concat, Options...>;
  using Drop = pick<dropout::question, dropout::None, Options...>;
  static constexpr bool conv_bias = pick<bias_question, ConvBias<!Norm::present>, Options...>::value;
  using BlockOf = pick<blocks_question, Blocks<ConvBlock>, Options...>;
  using Gate = pick<gate::question, gate::None, Options...>;
  using Odd = pick<odd::question, odd::Refuse, Options...>;
  using Head = pick<head_question, head::Linear, Options...>;
  static constexpr bool narrow = pick<narrow_question, FullWidth, Options...>::value;

  static_assert(classes >= 1 && Channels::positive && depth >= 1, "UNet: Classes, Width and Depth must be at least 1");
  static_assert(depth <= 8, "UNet: Depth above 8 divides the image by more than 256");
  static_assert(answers<classes_question, Options...> + answers<width_question, Options...> +
                        answers<depth_question, Options...> + answers<padding::question, Options...> +
                        answers<norm::question, Options...> + answers<activation::question, Options...> +
                        answers<down::question, Options...> + answers<up::question, Options...> +
                        answers<skip::question, Options...> + answers<dropout::question, Options...> +
                        answers<bias_question, Options...> + answers<blocks_question, Options...> +
                        answers<gate::question, Options...> + answers<odd::question, Options...> +
                        answers<head_question, Options...> + answers<narrow_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "UNet: an option answers a question that U-Nets do not ask");

  using Plain = typename BlockOf::template block<Style<Padding, Norm, Act, dropout::None, conv_bias>>;
  using Deep = typename BlockOf::template block<Style<Padding, Norm, Act, Drop, conv_bias>>;

  /// {image channels, H, W} -> logits {classes, H', W'}.
  static constexpr Value lower(Builder& b, Value x) {
    FixedVector<Value, 8> skips;
    for (int level = 0; level < depth; ++level) {
      const auto s = b.scope("encoder", level);
      x = level == depth - 1 ? Deep::lower(b, x, Channels::at(level)) : Plain::lower(b, x, Channels::at(level));
      skips.push_back(x);
      x = Odd::pads ? down::floor<Down>(b, x) : Down::lower(b, x);
    }
    {
      const auto s = b.scope("bottleneck");
      x = Deep::lower(b, x, narrow ? Channels::at(depth) / 2 : Channels::at(depth));
    }
    for (int level = depth - 1; level >= 0; --level) {
      const auto s = b.scope("decoder", level);
      const Value below = x;
      x = Up::lower(b, x, Channels::at(level));
      if (Odd::pads) x = skip::padded(b, x, b.shape(skips[level]).extent());
      x = Skip::join(b, x, Gate::lower(b, skips[level], x, below, level));
      x = decode(b, x, level);
    }
    return Head::lower(b, x, classes);
  }

 private:
  static constexpr Value decode(Builder& b, Value x, int level) {
    const int middle = Channels::at(level);
    const int channels = narrow && level > 0 ? middle / 2 : middle;
    if constexpr (requires { Plain::lower(b, x, channels, middle); })
      return Plain::lower(b, x, channels, middle);
    else  // a block that cannot have other channels inside
      return Plain::lower(b, x, channels);
  }
};

}  // namespace ulna
