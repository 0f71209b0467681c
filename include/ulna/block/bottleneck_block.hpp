// SPDX-License-Identifier: MIT
// The ResNet that feeds TransUNet's transformer, in the form of BiT (Kolesnikov et al., "Big Transfer", 2020):
// weight-standardised convolutions without bias, group norm, and ReLU after the sum.
#pragma once

#include <ratio>

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/norm.hpp"

namespace ulna {

/// 1x1, 3x3 (with the stride) and 1x1 convolution, the first two with channels / 4; plus the input, which a strided 1x1
/// convolution with a norm of its own brings to the shape of the sum where it has another. A block that takes odd
/// extents: with stride 2 it keeps every second pixel from the first, {C, H, W} -> {channels, ceil(H / 2), ceil(W /
/// 2)}.
template <int Groups = 32>
struct BottleneckBlock {
  using Norm = norm::Group<Groups, std::ratio<1, 1'000'000>>;
  using ProjectionNorm = norm::Instance<>;  ///< one group for each channel, epsilon 1e-5

  static constexpr Value lower(Builder& b, Value x, int channels, int stride = 1) {
    const Value shortcut = stride == 1 && b.shape(x).channels == channels ? x : project(b, x, channels, stride);
    Value y = conv(b, x, channels / 4, 1, 1, "conv1");
    y = activation::ReLU::lower(b, Norm::lower(b, y, "norm1"));
    y = conv(b, y, channels / 4, 3, stride, "conv2");
    y = activation::ReLU::lower(b, Norm::lower(b, y, "norm2"));
    y = Norm::lower(b, conv(b, y, channels, 1, 1, "conv3"), "norm3");
    return activation::ReLU::lower(b, op::add(b, shortcut, y));
  }

  /// Padded by kernel / 2 on every side. layer::conv would refuse a stride that does not divide the extent; here the
  /// windows start at the first pixel in any case, so what comes out is where skips expect it.
  static constexpr Value conv(Builder& b, Value x, int channels, int kernel, int stride, const char* name) {
    const auto s = b.scope(name);
    const Window w = window2d(kernel, stride, kernel / 2);
    const Value weight = b.weight("weight", b.shape(x).channels, channels, w.kernel);
    return op::convolution(b, x, op::standardize_weight(b, weight, 1e-5f), {}, w);
  }

 private:
  static constexpr Value project(Builder& b, Value x, int channels, int stride) {
    const auto s = b.scope("projection");
    return ProjectionNorm::lower(b, conv(b, x, channels, 1, stride, "conv"));
  }
};

/// A 7x7 convolution with stride 2 to Width channels, a 3x3 max-pool with stride 2, and stages of bottleneck blocks:
/// Units says how many in each. Stage s has 4 Width 2^s channels; all but the first begin by halving the extent.
/// {C, H, W} -> {4 Width 2^(stages - 1), H / reduction, W / reduction}; the extents must be multiples of `reduction`.
template <int Width, int Groups, int... Units>
struct ResNetTrunk {
  static constexpr int stages = static_cast<int>(sizeof...(Units));
  static constexpr int reduction = 2 << stages;  ///< 16 with three stages
  static_assert(Width >= 1 && stages >= 1 && stages <= 5 && ((Units >= 1) && ...),
                "ResNetTrunk: Width and every number of Units must be at least 1, and there are 1 to 5 stages");
  using Unit = BottleneckBlock<Groups>;

  struct Features {
    Value deepest;
    FixedVector<Value, 8> skips;  ///< skips[level] has the extent of the image over 2^level; none at level 0
  };

  static constexpr Features features(Builder& b, Value x) {
    const auto s = b.scope("trunk");
    const Extent image = b.shape(x).extent();
    require_multiples(b, image);
    Features f;
    f.skips.push_back({});
    x = stem(b, x);
    f.skips.push_back(x);
    {
      const auto of_pool = b.scope("pool");
      x = op::max_pool(b, x, window2d(3, 2), Remainder::drop);  // without padding: 112 -> 55
    }
    constexpr int units[] = {Units...};
    for (int stage = 0; stage < stages; ++stage) {
      const auto of_stage = b.scope("stage", stage);
      for (int unit = 0; unit < units[stage]; ++unit) {
        const auto of_unit = b.scope("unit", unit);
        x = Unit::lower(b, x, (4 * Width) << stage, unit == 0 && stage > 0 ? 2 : 1);
      }
      if (stage + 1 < stages) f.skips.push_back(padded(b, x, image, 4 << stage));
    }
    f.deepest = x;
    return f;
  }

  static constexpr Value lower(Builder& b, Value x) { return features(b, x).deepest; }

 private:
  static constexpr void require_multiples(Builder& b, Extent image) {
    for (const Axis axis : {Axis::height, Axis::width})
      if (const int extent = along(image, axis); extent % reduction != 0)
        b.fail(RuleKind::extent_must_divide, extent, reduction,
               Sentence{} << op::axis_name(axis) << " " << extent << " is not divisible into tokens of " << reduction
                          << " pixels",
               true);
  }

  static constexpr Value stem(Builder& b, Value x) {
    const auto s = b.scope("stem");
    x = Unit::conv(b, x, Width, 7, 2, "conv");
    return activation::ReLU::lower(b, Unit::Norm::lower(b, x));
  }

  /// Zeros at the bottom and the right, up to the extent of the image over `factor`: the pool ate a row and a column.
  static constexpr Value padded(Builder& b, Value x, Extent image, int factor) {
    const Extent have = b.shape(x).extent();
    const Extent missing{0, image.height / factor - have.height, image.width / factor - have.width};
    if (missing.height <= 0 && missing.width <= 0) return x;
    const auto s = b.scope("skip");
    return op::pad(b, x, {0, 0, 0}, missing, Border::zero);
  }
};

}  // namespace ulna
