// SPDX-License-Identifier: MIT
// U-Net++ (Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018; IEEE TMI
// 2020).
#pragma once

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/block/conv_block.hpp"
#include "ulna/block/nested_skip.hpp"
#include "ulna/layer/resample.hpp"
#include "ulna/model/options.hpp"

namespace ulna {

struct supervision_question {};

/// Which logits a deeply supervised network gives.
namespace heads {
/// The mean of all heads' logits: the paper's accurate mode.
struct Average {
  static constexpr int chosen(int /*depth*/) { return 0; }
};
/// Those of the head on x(0, Column) alone: the fast mode. prune<Column, Net> computes them without the dead nodes.
template <int Column>
struct One {
  static constexpr int chosen(int /*depth*/) { return Column; }
};
/// Those of the head on x(0, Depth), as popular code does.
struct Last {
  static constexpr int chosen(int depth) { return depth; }
};
}  // namespace heads

/// A head on each of x(0, 1), ..., x(0, Depth), all at full resolution; the training loss is the mean of the heads'
/// losses. `Output` says what the network gives; each head's logits can be read out as "head[j]/logits".
template <class Output = heads::Average>
struct DeepSupervision {
  using option = supervision_question;
  using output = Output;
  static constexpr bool present = true;
};
/// One head, on x(0, Depth).
struct SingleHead {
  using option = supervision_question;
  using output = heads::Last;
  static constexpr bool present = false;
};

/// The U-Net++: every level keeps a row of nodes, each fed by all before it in its row and by the row below.
///   x(0,0) -- x(0,1) -- x(0,2)    x(i, 0) is the encoder,
///       \     /   \     /         x(i, j) = H([x(i, 0), ..., x(i, j-1), up(x(i+1, j-1))]),
///       x(1,0) -- x(1,1)          x(0, j) is at full resolution and can have a head.
///            \     /
///            x(2,0)
/// Options, in any order (default first):
///   Classes<2>, Width<32> | Widths<32, 64, ...>, Depth<4>
///   padding::Same | Reflect | Valid (not with DeepSupervision, whose heads must be equally large)
///   norm::Batch | Instance<> | Group<> | None; ConvBias<false> in front of a norm | ConvBias<true>
///   activation::ReLU | LeakyReLU<> | ...
///   down::MaxPool | StridedConv | AveragePool
///   up::Bilinear<> | Transposed | NearestConv<> | NearestBlock<> | BilinearConv<>
///   skip::Concat | ConcatUpFirst | Sum (with an up that gives the channels of the skips)
///   gate::None | Popular<> | ... (block/attn_gate.hpp): a gate on every skip
///   odd::Refuse | Pad
///   Dropout<rate> at the end of every block, or none
///   Blocks<ConvBlock>, or any block
///   SingleHead | DeepSupervision<heads::Average | One<j> | Last>
/// Module path: level[i]/node[j], head; with deep supervision head[1..Depth].
template <Option... Options>
struct UNetPlusPlus {
  static constexpr const char* name = "UNetPlusPlus";
  static constexpr int classes = pick<classes_question, Classes<2>, Options...>::value;
  using Channels = pick<width_question, Width<32>, Options...>;
  static constexpr int depth = depth_of<Channels, pick<depth_question, Depth<4>, Options...>, Options...>();
  using Padding = pick<padding::question, padding::Same, Options...>;
  using Norm = pick<norm::question, norm::Batch, Options...>;
  using Act = pick<activation::question, activation::ReLU, Options...>;
  using Down = pick<down::question, down::MaxPool, Options...>;
  using Up = pick<up::question, up::Bilinear<>, Options...>;
  using Skip = pick<skip::question, skip::Concat, Options...>;
  using Drop = pick<dropout::question, dropout::None, Options...>;
  static constexpr bool conv_bias = pick<bias_question, ConvBias<!Norm::present>, Options...>::value;
  using BlockOf = pick<blocks_question, Blocks<ConvBlock>, Options...>;
  using Gate = pick<gate::question, gate::None, Options...>;
  using Odd = pick<odd::question, odd::Refuse, Options...>;
  using Supervision = pick<supervision_question, SingleHead, Options...>;
  /// The j of the head whose logits are the output; 0: the mean of all.
  static constexpr int output_head = Supervision::output::chosen(depth);

  static_assert(classes >= 1 && Channels::positive && depth >= 1,
                "UNetPlusPlus: Classes, Width and Depth must be at least 1");
  static_assert(depth <= 6, "UNetPlusPlus: Depth above 6 has more nodes than a graph holds");
  static_assert(!std::is_same_v<Skip, skip::None>, "UNetPlusPlus: without skips most nodes lead nowhere; use a UNet");
  static_assert(!Supervision::present || !std::is_same_v<Padding, padding::Valid>,
                "UNetPlusPlus: valid convolutions give heads of different extents, which cannot share labels");
  static_assert(output_head >= 0 && output_head <= depth, "UNetPlusPlus: heads are numbered 1 to Depth");
  static_assert(answers<classes_question, Options...> + answers<width_question, Options...> +
                        answers<depth_question, Options...> + answers<padding::question, Options...> +
                        answers<norm::question, Options...> + answers<activation::question, Options...> +
                        answers<down::question, Options...> + answers<up::question, Options...> +
                        answers<skip::question, Options...> + answers<dropout::question, Options...> +
                        answers<bias_question, Options...> + answers<blocks_question, Options...> +
                        answers<gate::question, Options...> + answers<odd::question, Options...> +
                        answers<supervision_question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "UNetPlusPlus: an option answers a question that U-Net++ does not ask");

  using Encoder = typename BlockOf::template block<Style<Padding, Norm, Act, Drop, conv_bias>>;
  using Nested = NestedSkip<Encoder, Up, Skip, Gate, Odd>;

  /// {image channels, H, W} -> logits {classes, H', W'}.
  static constexpr Value lower(Builder& b, Value x) {
    const Row top = lower_rows(b, x, depth);
    if constexpr (!Supervision::present) return lower_head(b, top[depth], -1);
    Value sum{};
    Value chosen{};
    for (int j = 1; j <= depth; ++j) {
      const Value logits = lower_head(b, top[j], j);
      b.supervise(logits, 1.0f / static_cast<float>(depth));
      if (output_head == 0) sum = sum ? op::add(b, sum, logits) : logits;
      if (output_head == j) chosen = logits;
    }
    return output_head == 0 ? op::scale(b, sum, 1.0f / static_cast<float>(depth)) : chosen;
  }

  /// The same, of the nodes with i + j <= `deepest` and the head on x(0, deepest) alone, under the same names.
  static constexpr Value lower_pruned(Builder& b, Value x, int deepest) {
    return lower_head(b, lower_rows(b, x, deepest)[deepest], Supervision::present ? deepest : -1);
  }

 private:
  /// x(i, 0), x(i, 1), ... of one level.
  using Row = FixedVector<Value, depth + 1>;

  /// The nodes with i + j <= deepest; returns the top row. They are lowered diagonal by diagonal, x(d, 0), x(d - 1, 1),
  /// ..., x(0, d), so that a pruned network is a beginning of the whole.
  static constexpr Row lower_rows(Builder& b, Value x, int deepest) {
    Row rows[depth + 1]{};
    for (int d = 0; d <= deepest; ++d) {
      if (d > 0) x = lower_down(b, rows[d - 1][0], d - 1);
      for (int j = 0; j <= d; ++j) {
        const int i = d - j;
        const auto level = b.scope("level", i);
        const auto node = b.scope("node", j);
        const std::span<const Value> row(rows[i].begin(), rows[i].end());
        rows[i].push_back(j == 0 ? Encoder::lower(b, x, Channels::at(i))
                                 : Nested::lower(b, row, rows[i + 1][j - 1], i, Channels::at(i)));
      }
    }
    return rows[0];
  }

  static constexpr Value lower_down(Builder& b, Value x, int level) {
    const auto s = b.scope("level", level);
    return Odd::pads ? down::floor<Down>(b, x) : Down::lower(b, x);
  }

  /// A 1x1 convolution to logits. `number`: the column it stands on, -1 for the only one.
  static constexpr Value lower_head(Builder& b, Value x, int number) {
    const auto s = b.scope("head", number);
    const Value weight = b.weight("weight", b.shape(x).channels, classes, {});
    const Value logits = op::convolution(b, x, weight, b.vector("bias", ParameterKind::bias, classes), {});
    if (number > 0) b.publish("logits", logits);
    return logits;
  }
};

/// A deeply supervised U-Net++ cut down to the nodes with i + j <= L and the head on x(0, L): the paper's pruning. Its
/// logits are, to the bit, head L's of the whole network; nothing else is lowered. Parameters have the names they have
/// in the whole, whose weight files load unchanged; what the part does not have is left out.
template <int L, class Net>
struct Pruned {
  static constexpr const char* name = Net::name;
  static constexpr int classes = Net::classes;
  using FullNetwork = Net;

  static_assert(Net::Supervision::present,
                "prune<L, Net>: Net has one head, on its deepest node; train it with DeepSupervision to prune it");

  static constexpr Value lower(Builder& b, Value x) {
    const bool exists = L >= 1 && L <= Net::depth;
    if (!exists)
      b.fail(RuleKind::depth_must_exist, L, Net::depth,
             Sentence{} << "pruned to depth " << L << ", the network has heads at depths 1 to " << Net::depth
                        << "; choose one of them",
             false);
    return Net::lower_pruned(b, x, exists ? L : Net::depth);
  }
};
template <int L, class Net>
using prune = Pruned<L, Net>;

/// As published; whatever is given as an argument comes first and wins.
///
/// The paper's authors, in their Keras code: width 32, no norm, dropout of one half after every 3x3 convolution, 2x2
/// up-convolutions, what comes up first; one logit. From 1 channel 9,041,601 parameters with one head, 9,041,700 with
/// DeepSupervision<>; pruned to depth 1, 2, 3: 100,961, 511,105, 2,204,961.
template <Option... Changes>
using ZhouUNetPlusPlus =
    UNetPlusPlus<Changes..., Classes<1>, norm::None, up::Transposed, skip::ConcatUpFirst, Blocks<DropoutConvBlock>>;

/// NestedUNet of 4uiiurz1/pytorch-nested-unet: batch norm after convolutions with bias, bilinear upsampling between
/// corner pixels; one logit. From 3 channels 9,163,329 parameters. With its `deep_supervision=True`:
/// Uiiurz1NestedUNet<DeepSupervision<heads::Last>>. Weights: weights/name_maps/uiiurz1.hpp.
template <Option... Changes>
using Uiiurz1NestedUNet = UNetPlusPlus<Changes..., Classes<1>, ConvBias<true>>;

}  // namespace ulna
