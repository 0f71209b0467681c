// SPDX-License-Identifier: MIT
// Nearest and linear upsampling by whole factors, and their gradients.
#pragma once

#include <array>

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

inline Extent nearest_source(Extent p, Extent factor) {
  return each_axis([](int at, int f) { return at / f; }, p, factor);
}

/// y[p] = x[floor(p / factor)]
template <class T>
void upsample_nearest(const Call<T>& call) {
  const Tensor<T>& y = call.output;
  const Tensor<T>& x = call.input[0];
  for (int n = 0; n < y.batch; ++n)
    for (Index p = 0; p < y.pixels(); ++p) {
      const Extent q = nearest_source(position_of(p, y.shape.extent()), call.node->window.stride);
      channels_of(y, n, p) = channels_of(x, n, index_of(q, x.shape.extent()));
    }
}

/// dx[q] = sum of dy over the pixels that read q
template <class T>
void upsample_nearest_gradient(const Call<T>& call) {
  const Tensor<T>& dx = call.output;
  const Tensor<T>& dy = call.input[0];
  scatter_samples(call, [&](int n, auto& sums) {
    for (Index p = 0; p < dy.pixels(); ++p) {
      const Extent q = nearest_source(position_of(p, dy.shape.extent()), call.node->window.stride);
      sums.row(index_of(q, dx.shape.extent())) += channels_of(dy, n, p).template cast<double>();
    }
  });
}

/// Where along one axis an output pixel samples the input: between `low` and `high`, `weight` of the way.
struct Sample {
  int low;
  int high;
  double weight;
};

/// The position as a fraction of integers, so that the weights of a pixel do not depend on how far from 0 it lies.
inline Sample sample_at(int p, int factor, int size, bool align_corners) {
  int numerator = align_corners ? p * (size - 1) : std::max(2 * p + 1 - factor, 0);
  int denominator = align_corners ? std::max(size * factor - 1, 1) : 2 * factor;
  const int low = std::min(numerator / denominator, size - 1);
  return {low, std::min(low + 1, size - 1), static_cast<double>(numerator % denominator) / denominator};
}

/// The eight neighbours of an output pixel and their weights (fewer where an axis is not upsampled: their weight is 0).
struct Neighbours {
  std::array<Index, 8> pixel;
  std::array<double, 8> weight;
};

inline Neighbours neighbours_of(Extent p, const Node& node, Extent small) {
  const Extent f = node.window.stride;
  const std::array<Sample, 3> axis{sample_at(p.depth, f.depth, small.depth, node.align_corners),
                                   sample_at(p.height, f.height, small.height, node.align_corners),
                                   sample_at(p.width, f.width, small.width, node.align_corners)};
  const auto at = [](const Sample& s, bool high) { return high ? s.high : s.low; };
  const auto share = [](const Sample& s, bool high) { return high ? s.weight : 1 - s.weight; };
  Neighbours all{};
  for (unsigned i = 0; i < 8; ++i) {
    const bool z = i & 4, y = i & 2, x = i & 1;
    all.pixel[i] = index_of({at(axis[0], z), at(axis[1], y), at(axis[2], x)}, small);
    all.weight[i] = share(axis[0], z) * share(axis[1], y) * share(axis[2], x);
  }
  return all;
}

/// y[p] = linear interpolation of x
template <class T>
void upsample_bilinear(const Call<T>& call) {
  const Tensor<T>& y = call.output;
  const Tensor<T>& x = call.input[0];
  scatter_samples(call, [&](int n, auto& sums) {
    for (Index p = 0; p < y.pixels(); ++p) {
      const Neighbours near = neighbours_of(position_of(p, y.shape.extent()), *call.node, x.shape.extent());
      for (std::size_t i = 0; i < 8; ++i) {
        if (near.weight[i] == 0) continue;  // a neighbour that is not read must not spread an infinity
        sums.row(p) += near.weight[i] * channels_of(x, n, near.pixel[i]).template cast<double>();
      }
    }
  });
}

/// The adjoint: each dy goes to the pixels it was interpolated from, in the same shares.
template <class T>
void upsample_bilinear_gradient(const Call<T>& call) {
  const Tensor<T>& dx = call.output;
  const Tensor<T>& dy = call.input[0];
  scatter_samples(call, [&](int n, auto& sums) {
    for (Index p = 0; p < dy.pixels(); ++p) {
      const Neighbours near = neighbours_of(position_of(p, dy.shape.extent()), *call.node, dx.shape.extent());
      for (std::size_t i = 0; i < 8; ++i)
        sums.row(near.pixel[i]) += near.weight[i] * channels_of(dy, n, p).template cast<double>();
    }
  });
}

}  // namespace ulna::eigen
