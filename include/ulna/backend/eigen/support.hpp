// SPDX-License-Identifier: MIT
// What the reference kernels share: tensors as Eigen arrays, positions in an image, activations, working memory.
//
// Every kernel computes in double and rounds once, when it stores. Each is written for clarity, and so that an output
// pixel is computed by the same operations wherever it lies.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "ulna/backend/tensor.hpp"
#include "ulna/backend/workspace.hpp"

namespace ulna::eigen {

using Index = std::ptrdiff_t;
using ulna::buffers_of;
using ulna::bytes_for;

/// Rows are pixels, columns are channels.
template <class T>
using Pixels = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>, Eigen::Unaligned,
                          Eigen::OuterStride<>>;
/// The channels of one pixel, or a record.
template <class T>
using Channels = Eigen::Map<Eigen::Array<T, 1, Eigen::Dynamic>>;
/// A dense matrix in working memory.
using Panel = Eigen::Map<Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

template <class T>
Pixels<T> pixels_of(const Tensor<T>& x, int n) {
  return {x.sample(n), x.pixels(), x.shape.channels, Eigen::OuterStride<>(x.pixel_stride)};
}

template <class T>
Channels<T> channels_of(const Tensor<T>& x, int n, Index pixel) {
  return {x.pixel(n, pixel), x.shape.channels};
}

/// Parameters and records: everything a dense tensor holds for sample n.
template <class T>
Channels<T> record_of(const Tensor<T>& x, int n = 0) {
  return {x.sample(n), static_cast<Index>(x.shape.size())};
}

/// Adds `sums` to a parameter's gradient, or overwrites it.
template <class T>
void store_gradient(const Call<T>& call, const auto& sums) {
  auto g = record_of(call.output);
  if (call.node->accumulate)
    g = (g.template cast<double>() + sums).template cast<T>();
  else
    g = sums.template cast<T>();
}

// --- positions
// --------------------------------------------------------------------------------------------------------

/// Coordinates of pixel `index` of a box.
inline Extent position_of(Index index, Extent box) {
  return {static_cast<int>(index / box.width / box.height), static_cast<int>(index / box.width % box.height),
          static_cast<int>(index % box.width)};
}

inline Index index_of(Extent position, Extent box) {
  return (Index{position.depth} * box.height + position.height) * box.width + position.width;
}

inline bool inside(Extent position, Extent box) {
  return position.depth >= 0 && position.depth < box.depth && position.height >= 0 && position.height < box.height &&
         position.width >= 0 && position.width < box.width;
}

/// Applies f to the three axes in turn.
inline Extent each_axis(auto f, const auto&... extents) {
  return {f(extents.depth...), f(extents.height...), f(extents.width...)};
}

/// The pixel that tap `tap` of the window at output pixel `p` reads: p stride + t dilation - pad.
inline Extent under_window(const Window& w, Extent p, int tap) {
  return each_axis([](int at, int t, int stride, int dilation, int pad) { return at * stride + t * dilation - pad; }, p,
                   position_of(tap, w.kernel), w.stride, w.dilation, w.pad_before);
}

// --- activations
// ------------------------------------------------------------------------------------------------------

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// The cumulative normal distribution.
inline double phi(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline double gelu_slope(double x) { return phi(x) + x * std::exp(-0.5 * x * x) * 0.39894228040143267794; }

/// to = act(x), x an array of double.
template <class T>
void store_activated(const Node& node, const auto& x, auto&& to) {
  const double slope = static_cast<double>(node.slope);
  switch (node.activation) {
    case Activation::none:
      to = x.template cast<T>();
      break;
    case Activation::relu:
      to = x.unaryExpr([](double v) { return static_cast<T>(v < 0 ? 0 : v); });
      break;
    case Activation::leaky_relu:
      to = x.unaryExpr([slope](double v) { return static_cast<T>(v < 0 ? slope * v : v); });
      break;
    case Activation::sigmoid:
      // the standard exp one value at a time: Eigen's packets and their remainders round differently
      to = x.unaryExpr([](double v) { return static_cast<T>(sigmoid(v)); });
      break;
    case Activation::gelu:
      to = x.unaryExpr([](double v) { return static_cast<T>(v * phi(v)); });
      break;
  }
}

/// d act / dx, given x.
inline double activation_slope_at(const Node& node, double x) {
  switch (node.activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::leaky_relu:
      return x > 0 ? 1 : static_cast<double>(node.slope);
    case Activation::sigmoid:
      return sigmoid(x) * (1 - sigmoid(x));
    case Activation::gelu:
      return gelu_slope(x);
  }
  return 1;
}

// --- working memory
// ---------------------------------------------------------------------------------------------------

/// Sums for each channel of the first input.
struct ChannelSums {
  template <class T>
  ChannelSums(const Call<T>& call, Workspace& w) : data(w.take<double>(call.input[0].shape.channels)) {}
  double* data;
};

/// One sample of the output in double: gradients that are scattered are summed here.
struct OutputSums {
  template <class T>
  OutputSums(const Call<T>& call, Workspace& w) : data(w.take<double>(static_cast<Index>(call.output.shape.size()))) {}
  double* data;
};

/// Fills the output by scattering: `scatter(n, sums)` adds to `sums`, a (pixels, channels) array of zeros.
template <class T>
void scatter_samples(const Call<T>& call, auto scatter) {
  Pixels<double> sums(buffers_of<OutputSums>(call).data, call.output.pixels(), call.output.shape.channels,
                      Eigen::OuterStride<>(call.output.shape.channels));
  for (int n = 0; n < call.output.batch; ++n) {
    sums.setZero();
    scatter(n, sums);
    pixels_of(call.output, n) = sums.template cast<T>();
  }
}

}  // namespace ulna::eigen
