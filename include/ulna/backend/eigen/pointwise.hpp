// SPDX-License-Identifier: MIT
// Activations, softmax, dropout, sum, product and multiples.
#pragma once

#include "ulna/backend/eigen/support.hpp"
#include "ulna/random.hpp"

namespace ulna::eigen {

template <class T>
void activation(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n)
    store_activated<T>(*call.node, pixels_of(call.input[0], n).template cast<double>(), pixels_of(call.output, n));
}

/// dx = dy act'(x), act' as a function of y (gelu: of x, which the second input is)
template <class T>
void activation_gradient(const Call<T>& call) {
  const T slope = static_cast<T>(call.node->activation == Activation::leaky_relu ? call.node->slope : 0.0f);
  for (int n = 0; n < call.output.batch; ++n) {
    const auto dy = pixels_of(call.input[0], n);
    const auto y = pixels_of(call.input[1], n);
    if (call.node->activation == Activation::gelu)
      pixels_of(call.output, n) =
          dy * y.unaryExpr([](T x) { return static_cast<T>(gelu_slope(static_cast<double>(x))); });
    else if (call.node->activation == Activation::sigmoid)
      pixels_of(call.output, n) = dy * y * (T{1} - y);
    else
      pixels_of(call.output, n) = (y > T{0}).select(dy, slope * dy);
  }
}

/// p = softmax(x) over the channels of a pixel, in double; p and x may have any element type.
inline void softmax_of(const auto& x, auto&& p) {
  const double largest = static_cast<double>(x.maxCoeff());
  p = x.template cast<double>().unaryExpr([largest](double v) { return std::exp(v - largest); });
  p /= p.sum();
}

/// The channels of one pixel.
struct PixelBuffer {
  template <class T>
  PixelBuffer(const Call<T>& call, Workspace& w) : data(w.take<double>(call.input[0].shape.channels)) {}
  double* data;
};

/// y_c = exp(x_c - max x) / sum_k exp(x_k - max x)
template <class T>
void softmax(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  Channels<double> p(buffers_of<PixelBuffer>(call).data, x.shape.channels);
  for (int n = 0; n < x.batch; ++n)
    for (Index i = 0; i < x.pixels(); ++i) {
      softmax_of(channels_of(x, n, i), p);
      channels_of(call.output, n, i) = p.template cast<T>();
    }
}

/// dx_c = y_c (dy_c - sum_k dy_k y_k)
template <class T>
void softmax_gradient(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n)
    for (Index i = 0; i < call.output.pixels(); ++i) {
      const auto dy = channels_of(call.input[0], n, i);
      const auto y = channels_of(call.input[1], n, i);
      const double along = (dy.template cast<double>() * y.template cast<double>()).sum();
      channels_of(call.output, n, i) =
          (y.template cast<double>() * (dy.template cast<double>() - along)).template cast<T>();
    }
}

/// y = x / (1 - rate) where the element's draw keeps it, else 0
template <class T>
void dropout(const Call<T>& call) {
  const Node& node = *call.node;
  const Tensor<T>& x = call.input[0];
  const int channels = x.shape.channels;
  const double scale = 1.0 / (1.0 - static_cast<double>(node.rate));
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < x.pixels(); ++p)
      for (int c = 0; c < channels; ++c) {
        const auto e = static_cast<std::uint64_t>(p * channels + c);
        const auto bits = philox({static_cast<std::uint32_t>(e / 4), static_cast<std::uint32_t>(n),
                                  static_cast<std::uint32_t>(node.begin), static_cast<std::uint32_t>(call.step)},
                                 call.seed.value)[e % 4];
        const bool dropped = static_cast<float>(bits >> 8) * 0x1p-24f < node.rate;
        call.output.pixel(n, p)[c] = dropped ? T{0} : static_cast<T>(static_cast<double>(x.pixel(n, p)[c]) * scale);
      }
}

/// act( x + y )
template <class T>
void add(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n)
    store_activated<T>(
        *call.node,
        pixels_of(call.input[0], n).template cast<double>() + pixels_of(call.input[1], n).template cast<double>(),
        pixels_of(call.output, n));
}

/// x y, or x times the one channel of y
template <class T>
void multiply(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n) {
    const auto x = pixels_of(call.input[0], n);
    const auto y = pixels_of(call.input[1], n);
    if (y.cols() == x.cols())
      pixels_of(call.output, n) = x * y;
    else
      pixels_of(call.output, n) = x.colwise() * y.col(0);
  }
}

/// factor x
template <class T>
void scale(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n)
    pixels_of(call.output, n) = static_cast<T>(call.node->rate) * pixels_of(call.input[0], n);
}

/// sum_c a_c b_c
template <class T>
void channel_dot(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n)
    for (Index p = 0; p < call.output.pixels(); ++p)
      *call.output.pixel(n, p) = static_cast<T>((channels_of(call.input[0], n, p).template cast<double>() *
                                                 channels_of(call.input[1], n, p).template cast<double>())
                                                    .sum());
}

}  // namespace ulna::eigen
