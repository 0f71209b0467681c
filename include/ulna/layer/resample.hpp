// SPDX-License-Identifier: MIT
// Going down and up: pooling, strided convolution, transposed convolution, upsampling; also the options of networks.
#pragma once

#include "ulna/layer/activation.hpp"
#include "ulna/layer/conv.hpp"
#include "ulna/layer/layer.hpp"
#include "ulna/layer/norm.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

namespace detail {
/// Non-overlapping windows of `factor` along every axis that the value has.
constexpr Window tiles_of(Builder& b, Value x, int factor) {
  const int depth_factor = b.shape(x).depth == 1 ? 1 : factor;
  return {.kernel = {depth_factor, factor, factor}, .stride = {depth_factor, factor, factor}};
}
}  // namespace detail

template <int Factor = 2>
struct MaxPool {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("pool");
    return op::max_pool(b, x, detail::tiles_of(b, x, Factor));
  }
};

template <int Factor = 2>
struct AveragePool {
  static constexpr Value lower(Builder& b, Value x) {
    const auto s = b.scope("pool");
    return op::average_pool(b, x, detail::tiles_of(b, x, Factor));
  }
};

template <int Factor = 2>
struct UpsampleNearest {
  static constexpr Value lower(Builder& b, Value x) {
    return op::upsample_nearest(b, x, detail::tiles_of(b, x, Factor).stride);
  }
};

template <int Factor = 2, bool AlignCorners = false>
struct UpsampleBilinear {
  static constexpr Value lower(Builder& b, Value x) {
    return op::upsample_bilinear(b, x, detail::tiles_of(b, x, Factor).stride, AlignCorners);
  }
};

/// How an encoder halves its extent.
namespace down {
struct question {};

/// `Down` on an extent that may be odd: its last row or column is dropped first.
template <class Down>
constexpr Value floor(Builder& b, Value x) {
  const Extent e = b.shape(x).extent();
  const auto even = [](int n) { return n == 1 ? 1 : n / 2 * 2; };
  return Down::lower(b, op::crop(b, x, {even(e.depth), even(e.height), even(e.width)}));
}

struct MaxPool : ulna::MaxPool<2> {
  using option = question;
};
struct AveragePool : ulna::AveragePool<2> {
  using option = question;
};
/// A 3x3 convolution with stride 2 that keeps the channels.
struct StridedConv {
  using option = question;
  static constexpr Value lower(Builder& b, Value x) {
    return layer::conv(b, x, {.channels = b.shape(x).channels, .kernel = 3, .stride = 2}, "down");
  }
};
}  // namespace down

/// How a decoder doubles its extent, ending with `channels` channels.
namespace up {
struct question {};

/// A 2x2 transposed convolution with stride 2.
struct Transposed {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int channels) {
    return layer::transposed_conv(b, x, channels, 2, true);
  }
};
/// Nearest neighbour, then a convolution without norm or activation: 2x2 in the 2015 paper's words, 3x3 elsewhere.
template <int Kernel = 3>
struct NearestConv {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int channels) {
    return layer::conv(b, UpsampleNearest<2>::lower(b, x), {.channels = channels, .kernel = Kernel}, "up");
  }
};
/// Nearest neighbour, a convolution with bias, norm and activation: 3x3 in LeeJunHyun's `up_conv`; 2x2 without norm in
/// zhixuhao's code.
template <class Norm = norm::Batch, class Act = activation::ReLU, int Kernel = 3>
struct NearestBlock {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int channels) {
    const auto s = b.scope("up");
    x = layer::conv(b, UpsampleNearest<2>::lower(b, x), {.channels = channels, .kernel = Kernel});
    return Act::lower(b, Norm::lower(b, x));
  }
};
/// Bilinear interpolation alone: the channels stay as they are.
template <bool AlignCorners = true>
struct Bilinear {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int) { return UpsampleBilinear<2, AlignCorners>::lower(b, x); }
};
/// Bilinear interpolation, then a convolution.
template <int Kernel = 3, bool AlignCorners = false>
struct BilinearConv {
  using option = question;
  static constexpr Value lower(Builder& b, Value x, int channels) {
    return layer::conv(b, UpsampleBilinear<2, AlignCorners>::lower(b, x), {.channels = channels, .kernel = Kernel},
                       "up");
  }
};
}  // namespace up

}  // namespace ulna
