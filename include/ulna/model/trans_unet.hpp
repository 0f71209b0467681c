// SPDX-License-Identifier: MIT
// TransUNet (Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", 2021): a
// ResNet makes features, a vision transformer relates them over the whole image, a U-Net's decoder brings them back.
#pragma once

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/block/bottleneck_block.hpp"
#include "ulna/block/cascaded_upsampler.hpp"
#include "ulna/block/transformer_encoder.hpp"
#include "ulna/model/options.hpp"

namespace ulna {

struct layers_question {};
struct heads_question {};
struct mlp_question {};
struct units_question {};
struct groups_question {};
struct bridge_question {};
struct decoder_question {};
struct skips_question {};

/// Layers of the transformer.
template <int Count>
struct Layers {
  using option = layers_question;
  static constexpr int value = Count;
};
/// Heads of each attention; divides Hidden.
template <int Count>
struct Heads {
  using option = heads_question;
  static constexpr int value = Count;
};
/// Channels inside each layer's MLP.
template <int Channels>
struct Mlp {
  using option = mlp_question;
  static constexpr int value = Channels;
};
/// Bottleneck blocks in each stage of the ResNet; each stage but the first halves the extent.
template <int... Counts>
struct Units {
  using option = units_question;
  template <int Width, int Groups>
  using trunk = ResNetTrunk<Width, Groups, Counts...>;
};
/// Groups of the ResNet's group norms.
template <int Count>
struct Groups {
  using option = groups_question;
  static constexpr int value = Count;
};
/// Channels between the transformer and the decoder.
template <int Channels>
struct Bridge {
  using option = bridge_question;
  static constexpr int value = Channels;
};
/// Channels of each decoder step, the deepest first; each step doubles the extent.
template <int... Channels>
struct Decoder {
  using option = decoder_question;
  template <class Block, class Up, class Skip, class Gate>
  using upsampler = CascadedUpsampler<Block, Up, Skip, Gate, Channels...>;
};
/// How many of the ResNet's skips the decoder joins, the deepest first.
template <int Count>
struct Skips {
  using option = skips_question;
  static constexpr int value = Count;
};

/// What makes the tokens.
namespace encoder {
struct question {};
/// A ResNet, each of whose last pixels becomes a token, and whose other stages give the skips.
struct Hybrid {
  using option = question;
  static constexpr bool hybrid = true;
  static constexpr int patch = 1;
};
/// Patches of the image itself; there are no skips ("ViT" in the paper's table).
template <int Patch = 16>
struct Patches {
  using option = question;
  static constexpr bool hybrid = false;
  static constexpr int patch = Patch;
};
}  // namespace encoder

/// TransUNet. Options, in any order; the defaults are R50-ViT-B/16 (default first):
///   Classes<9>
///   encoder::Hybrid | Patches<16>
///   Hidden<768>, Layers<12>, Heads<12>, Mlp<3072>      the transformer
///   Units<3, 4, 9>, Width<64>, Groups<32>              the ResNet of the hybrid encoder
///   Bridge<512>, Decoder<256, 128, 64, 16>, Skips<3>   the decoder; Skips<0> to the number of stages
///   Blocks<ConvBlock> | Blocks<SingleConvBlock> (the paper's text) | any block
///   norm::Batch | ..., activation::ReLU | ...          of the decoder
///   up::Bilinear<> | ..., skip::ConcatUpFirst | ..., gate::None | ...
///   Dropout<std::ratio<1, 10>> after the embedding and in the MLPs, or dropout::None
/// An image of one channel is repeated to three, as weights pre-trained on photographs expect it.
/// Module path: trunk, patches, transformer, bridge, decoder[steps - 1 .. 0], head.
template <Option... Options>
struct TransUNet {
  static constexpr const char* name = "TransUNet";
  static constexpr int classes = pick<classes_question, Classes<9>, Options...>::value;
  static constexpr int hidden = pick<hidden_question, Hidden<768>, Options...>::value;
  static constexpr int layers = pick<layers_question, Layers<12>, Options...>::value;
  static constexpr int heads = pick<heads_question, Heads<12>, Options...>::value;
  static constexpr int mlp = pick<mlp_question, Mlp<3072>, Options...>::value;
  static constexpr int groups = pick<groups_question, Groups<32>, Options...>::value;
  static constexpr int bridge_channels = pick<bridge_question, Bridge<512>, Options...>::value;
  using Channels = pick<width_question, Width<64>, Options...>;
  using Encoder = pick<encoder::question, encoder::Hybrid, Options...>;
  using Norm = norm_of<Options...>;
  using Act = activation_of<Options...>;
  using Up = pick<up::question, up::Bilinear<>, Options...>;
  using Skip = pick<skip::question, skip::ConcatUpFirst, Options...>;
  using Gate = pick<gate::question, gate::None, Options...>;
  using Drop = pick<dropout::question, Dropout<std::ratio<1, 10>>, Options...>;
  using BlockOf = pick<blocks_question, Blocks<ConvBlock>, Options...>;

  using Trunk = typename pick<units_question, Units<3, 4, 9>, Options...>::template trunk<Channels::at(0), groups>;
  static constexpr int skips =
      pick<skips_question, Skips<Encoder::hybrid ? (Trunk::stages < 3 ? Trunk::stages : 3) : 0>, Options...>::value;
  using Embedding = PatchEmbedding<hidden, Encoder::patch, Drop>;
  using Transformer = TransformerEncoder<layers, heads, mlp, Drop>;
  using S = Style<padding::Same, Norm, Act>;
  using Upsampler = typename pick<decoder_question, Decoder<256, 128, 64, 16>,
                                  Options...>::template upsampler<typename BlockOf::template block<S>, Up, Skip, Gate>;
  /// Pixels of the image along each side of a token.
  static constexpr int token = Encoder::patch * (Encoder::hybrid ? Trunk::reduction : 1);

  static_assert(classes >= 1 && hidden >= 1 && heads >= 1 && bridge_channels >= 1,
                "TransUNet: Classes, Hidden, Heads and Bridge must be at least 1");
  static_assert(Channels::levels == 0, "TransUNet: give the ResNet one Width; its stages double it");
  static_assert(token == 1 << Upsampler::steps,
                "TransUNet: each number of Decoder doubles the extent; together they must undo the encoder's token");
  static_assert(skips >= 0);
  static_assert(skips <= (Encoder::hybrid ? Trunk::stages : 0),
                "TransUNet: a hybrid encoder has one skip for each stage of Units; patches of the image have none");
  static_assert(Encoder::hybrid || answers<units_question, Options...> + answers<width_question, Options...> +
                                           answers<groups_question, Options...> ==
                                       0,
                "TransUNet: Units, Width and Groups describe a ResNet; encoder::Patches has none");
  static_assert(answers<classes_question, Options...> + answers<encoder::question, Options...> +
                        answers<hidden_question, Options...> + answers<layers_question, Options...> +
                        answers<heads_question, Options...> + answers<mlp_question, Options...> +
                        answers<units_question, Options...> + answers<width_question, Options...> +
                        answers<groups_question, Options...> + answers<bridge_question, Options...> +
                        answers<decoder_question, Options...> + answers<skips_question, Options...> +
                        answers<blocks_question, Options...> + answers<norm::question, Options...> +
                        answers<activation::question, Options...> + answers<up::question, Options...> +
                        answers<skip::question, Options...> + answers<gate::question, Options...> +
                        answers<dropout::question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "TransUNet: an option answers a question that TransUNets do not ask");

  /// {image channels, H, W} -> logits {classes, H, W}.
  static constexpr Value lower(Builder& b, Value x) {
    if (b.shape(x).channels == 1) {
      const Value repeated[] = {x, x, x};
      x = op::concat(b, repeated);
    }
    FixedVector<Value, 8> joined;
    if constexpr (Encoder::hybrid) {
      const auto features = Trunk::features(b, x);
      x = features.deepest;
      joined = features.skips;
      for (int level = 0; level < joined.size(); ++level)
        if (level <= Trunk::stages - skips) joined[level] = {};
    }
    x = Transformer::lower(b, Embedding::lower(b, x));
    x = Upsampler::lower(b, bridge(b, x), joined);
    return layer::conv(b, x, {.channels = classes, .kernel = 3}, "head");
  }

 private:
  static constexpr Value bridge(Builder& b, Value x) {
    const auto s = b.scope("bridge");
    return SingleConvBlock<S>::lower(b, x, bridge_channels);
  }
};

/// R50-ViT-L/16.
template <Option... Options>
using TransUNetL16 = TransUNet<Hidden<1024>, Layers<24>, Heads<16>, Mlp<4096>, Options...>;

}  // namespace ulna
