// SPDX-License-Identifier: MIT
// FCN (Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015) over a VGG-16
// encoder.
#pragma once

#include "ulna/graph/diagnostic.hpp"  // first: a compiler prints the way to a broken rule, and it should be short

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"
#include "ulna/layer/resample.hpp"
#include "ulna/model/options.hpp"

namespace ulna {

struct stride_question {};

/// The stride of the finest scores that count: 32, 16 or 8, for FCN-32s, FCN-16s and FCN-8s.
template <int Pixels>
struct ScoreStride {
  using option = stride_question;
  static constexpr int value = Pixels;
};

/// How scores are brought to a finer map.
namespace scores {
struct question {};
/// By bilinear interpolation.
struct Interpolated {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int factor, const char* name) {
    const auto s = b.scope(name);
    const int depth_factor = b.shape(x).depth == 1 ? 1 : factor;
    return op::upsample_bilinear(b, x, {depth_factor, factor, factor}, false);
  }
};
/// By transposed convolutions that start as bilinear interpolation and learn.
struct Learned {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int factor, const char* name) {
    return layer::interpolating_conv(b, x, factor, name);
  }
};
}  // namespace scores

/// A fully convolutional network. A VGG-16 encoder (13 convolutions of 3x3, 5 pools) whose fully connected layers are
/// the convolutions fc6 (7x7) and fc7 (1x1); 1x1 convolutions score classes at stride 32, and for FCN-16s and FCN-8s
/// also behind the fourth and the third pool. Scores of two strides are summed, where a U-Net concatenates features.
/// All convolutions pad so that extents stay, where the released networks pad the image by 100 pixels.
///
/// Options, in any order (default first):
///   Classes<2>, ScoreStride<8> | ScoreStride<16> | ScoreStride<32>
///   Width<64>: levels of 1, 2, 4, 8 and 8 times as many channels; Hidden<channels> of fc6 and fc7
///   scores::Interpolated | Learned
///   norm::None as in VGG | Batch, which trains from scratch | ...
///   activation::ReLU | ...
///   Dropout<> behind fc6 and fc7 | dropout::None
/// Extents are multiples of 32. Module path: encoder[0..4], fc6, fc7, score_fc7, score_pool4, score_pool3, and what
/// brings scores up: up_fc7, up_pool4, up.
template <Option... Options>
struct FCN {
  static constexpr const char* name = "FCN";
  static constexpr int classes = pick<classes_question, Classes<2>, Options...>::value;
  static constexpr int stride = pick<stride_question, ScoreStride<8>, Options...>::value;
  using Channels = pick<width_question, Width<64>, Options...>;
  static constexpr int hidden = pick<hidden_question, Hidden<64 * Channels::at(0)>, Options...>::value;
  using Up = pick<scores::question, scores::Interpolated, Options...>;
  using Norm = pick<norm::question, norm::None, Options...>;
  using Act = pick<activation::question, activation::ReLU, Options...>;
  using Drop = pick<dropout::question, Dropout<>, Options...>;

  static_assert(classes >= 1 && Channels::positive && hidden >= 1, "FCN: Classes, Width and Hidden must be at least 1");
  static_assert(Channels::levels == 0, "FCN: give Width; Widths are for U-Nets");
  static_assert(stride == 32 || stride == 16 || stride == 8, "FCN: ScoreStride is 32, 16 or 8");
  static_assert(answers<classes_question, Options...> + answers<stride_question, Options...> +
                        answers<width_question, Options...> + answers<hidden_question, Options...> +
                        answers<scores::question, Options...> + answers<norm::question, Options...> +
                        answers<activation::question, Options...> + answers<dropout::question, Options...> ==
                    static_cast<int>(sizeof...(Options)),
                "FCN: an option answers a question that FCNs do not ask");

  /// {image channels, H, W} -> logits {classes, H, W}.
  static constexpr Value lower(Builder& b, Value x) {
    Value pools[5];
    for (int level = 0; level < 5; ++level) {
      const auto s = b.scope("encoder", level);
      x = stage(b, x, level);
      pools[level] = x;
    }
    x = connected(b, x, 7, "fc6");
    x = connected(b, x, 1, "fc7");
    x = score(b, x, "score_fc7");
    if (stride <= 16) x = op::add(b, Up::lower(b, x, 2, "up_fc7"), score(b, pools[3], "score_pool4"));
    if (stride <= 8) x = op::add(b, Up::lower(b, x, 2, "up_pool4"), score(b, pools[2], "score_pool3"));
    return Up::lower(b, x, stride, "up");
  }

 private:
  /// Two or three convolutions and a pool.
  static constexpr Value stage(Builder& b, Value x, int level) {
    constexpr const char* convs[] = {"conv1", "conv2", "conv3"};
    constexpr const char* norms[] = {"norm1", "norm2", "norm3"};
    for (int i = 0; i < (level < 2 ? 2 : 3); ++i) {
      x = layer::conv(b, x, {.channels = Channels::at(level < 3 ? level : 3), .bias = !Norm::present}, convs[i]);
      x = Act::lower(b, Norm::lower(b, x, norms[i]));
    }
    return down::MaxPool::lower(b, x);
  }

  /// A fully connected layer as a convolution.
  static constexpr Value connected(Builder& b, Value x, int kernel, const char* name) {
    const auto s = b.scope(name);
    x = layer::conv(b, x, {.channels = hidden, .kernel = kernel, .bias = !Norm::present});
    return Drop::lower(b, Act::lower(b, Norm::lower(b, x)));
  }

  static constexpr Value score(Builder& b, Value x, const char* name) {
    return layer::conv(b, x, {.channels = classes, .kernel = 1}, name);
  }
};

}  // namespace ulna
