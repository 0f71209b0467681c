// SPDX-License-Identifier: MIT
// Convolution layers. Blocks call the functions; the types are the same for use in Sequential.
#pragma once

#include "ulna/layer/layer.hpp"
#include "ulna/layer/options.hpp"

namespace ulna {

namespace padding {
struct question {};
/// Zeros around the image: the output is as large as the input (divided by the stride).
struct Same {
  using option = question;
};
/// No padding: a k x k kernel eats k - 1 pixels of each extent (the 2015 U-Net).
struct Valid {
  using option = question;
};
/// The mirrored image around the image: as large as Same, without dark borders.
struct Reflect {
  using option = question;
};
}  // namespace padding

enum class Padding : unsigned char { same, valid, reflect };

template <class P>
inline constexpr Padding padding_of = std::is_same_v<P, padding::Valid>     ? Padding::valid
                                      : std::is_same_v<P, padding::Reflect> ? Padding::reflect
                                                                            : Padding::same;

namespace layer {

struct ConvOptions {
  int channels = 1;
  int kernel = 3;
  int stride = 1;
  int dilation = 1;
  Padding padding = Padding::same;
  bool bias = true;
  bool standardized = false;  ///< the weight is standardised before use (op/standardize.hpp), epsilon 1e-5
};

/// What a convolution learns. `bias` may be absent.
struct ConvParameters {
  Value weight, bias;
};

/// Parameters `weight` and, if asked for, `bias` of a convolution from `in` channels, in the current scope. Apart from
/// apply_conv() for layers that use them several times.
constexpr ConvParameters conv_parameters(Builder& b, int in, bool image_is_flat, const ConvOptions& o) {
  Value weight = b.weight("weight", in, o.channels, {image_is_flat ? 1 : o.kernel, o.kernel, o.kernel});
  if (o.standardized) weight = op::standardize_weight(b, weight, 1e-5f);
  return {weight, o.bias ? b.vector("bias", ParameterKind::bias, o.channels) : Value{}};
}

/// The convolution of x with given parameters, made with the same options.
/// An even kernel with padding pads one pixel more at the end, as Keras does.
constexpr Value apply_conv(Builder& b, Value x, const ConvParameters& parameters, const ConvOptions& o) {
  const bool image_is_flat = b.shape(x).depth == 1;
  const int depth_kernel = image_is_flat ? 1 : o.kernel;
  Window w{.kernel = {depth_kernel, o.kernel, o.kernel},
           .stride = {image_is_flat ? 1 : o.stride, o.stride, o.stride},
           .dilation = {1, o.dilation, o.dilation},
           .pad_before = {0, 0, 0},
           .pad_after = {0, 0, 0},
           .border = Border::zero};
  if (!image_is_flat) w.dilation.depth = o.dilation;
  if (o.padding != Padding::valid) {
    const int pad = span_of(o.kernel, o.dilation) - 1;
    const int before = pad / 2;
    const int after = pad - before;
    const Extent pads_before{image_is_flat ? 0 : before, before, before};
    const Extent pads_after{image_is_flat ? 0 : after, after, after};
    if (o.stride > 1)
      for (const Axis axis : {Axis::height, Axis::width})
        if (const int extent = along(b.shape(x).extent(), axis); extent % o.stride != 0)
          b.fail(RuleKind::extent_must_divide, extent, o.stride,
                 Sentence{} << op::axis_name(axis) << " " << extent << " is not divisible by " << o.stride, true);
    if (o.padding == Padding::reflect) {
      x = op::pad(b, x, pads_before, pads_after, Border::reflect);
    } else {
      w.pad_before = pads_before;
      w.pad_after = pads_after;
    }
  }
  return op::convolution(b, x, parameters.weight, parameters.bias, w);
}

/// One convolution named `name`.
constexpr Value conv(Builder& b, Value x, const ConvOptions& o, const char* name = "conv") {
  const auto s = b.scope(name);
  return apply_conv(b, x, conv_parameters(b, b.shape(x).channels, b.shape(x).depth == 1, o), o);
}

/// A matrix applied to the channels of every pixel (token): parameters `weight` (out, in) and, if asked for, `bias`.
constexpr Value linear(Builder& b, Value x, int channels, const char* name, bool bias = true) {
  const auto s = b.scope(name);
  const Value weight = b.linear_weight("weight", b.shape(x).channels, channels);
  const Value beta = bias ? b.vector("bias", ParameterKind::bias, channels) : Value{};
  return op::convolution(b, x, weight, beta, {});
}

/// A transposed convolution whose kernel equals its stride: upsamples by `factor` without overlap.
constexpr Value transposed_conv(Builder& b, Value x, int channels, int factor, bool bias, const char* name = "up") {
  const auto s = b.scope(name);
  const int depth_factor = b.shape(x).depth == 1 ? 1 : factor;
  Window w{.kernel = {depth_factor, factor, factor}, .stride = {depth_factor, factor, factor}};
  const Value weight = b.transposed_weight("weight", b.shape(x).channels, channels, w.kernel, w.stride);
  const Value beta = bias ? b.vector("bias", ParameterKind::bias, channels) : Value{};
  return op::transposed_convolution(b, x, weight, beta, w);
}

/// A learned interpolation: a transposed convolution with overlapping kernels, 2 factor - factor % 2 taps wide, which
/// keeps the channels, multiplies the extent by `factor`, has no bias and starts as linear interpolation (of channels
/// each for itself, fading towards zero at the border).
constexpr Value interpolating_conv(Builder& b, Value x, int factor, const char* name = "up") {
  const auto s = b.scope(name);
  const int channels = b.shape(x).channels;
  const bool flat = b.shape(x).depth == 1;
  const int kernel = 2 * factor - factor % 2;
  const Extent pad{flat ? 0 : factor / 2, factor / 2, factor / 2};
  const Window w{.kernel = {flat ? 1 : kernel, kernel, kernel},
                 .stride = {flat ? 1 : factor, factor, factor},
                 .pad_before = pad,
                 .pad_after = pad};
  const Value weight = b.transposed_weight("weight", channels, channels, w.kernel, w.stride);
  b.start_as_interpolation(weight);
  return op::transposed_convolution(b, x, weight, {}, w);
}

}  // namespace layer

/// A k x k convolution to `Channels`, padded so that the extent stays, with bias.
template <int Channels, int Kernel = 3, int Stride = 1, class PaddingPolicy = padding::Same, int Dilation = 1,
          bool Bias = true>
struct Conv {
  static constexpr Value lower(Builder& b, Value x) {
    return layer::conv(b, x, {Channels, Kernel, Stride, Dilation, padding_of<PaddingPolicy>, Bias});
  }
};

/// A transposed convolution to `Channels` that multiplies the extent by `Factor`.
template <int Channels, int Factor = 2, bool Bias = true>
struct TransposedConv {
  static constexpr Value lower(Builder& b, Value x) { return layer::transposed_conv(b, x, Channels, Factor, Bias); }
};

}  // namespace ulna
