// SPDX-License-Identifier: MIT
// Nearest and linear upsampling by whole factors. Gradients are gathered.
#pragma once

#include "ulna/backend/cuda/elements.hpp"

namespace ulna::cuda {

namespace bodies {

template <class T>
struct UpsampleNearest {
  Tensor<T> x, y;
  Extent factor;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent p = position_of(e.pixel, y.shape.extent());
    const Extent q{p.depth / factor.depth, p.height / factor.height, p.width / factor.width};
    y.pixel(e.sample, e.pixel)[e.channel] = x.pixel(e.sample, index_of(q, x.shape.extent()))[e.channel];
  }
};

template <class T>
struct UpsampleNearestGradient {
  Tensor<T> dy, dx;
  Extent factor;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent q = position_of(e.pixel, dx.shape.extent());
    float sum = 0.0f;
    for (int z = 0; z < factor.depth; ++z)
      for (int y = 0; y < factor.height; ++y)
        for (int x = 0; x < factor.width; ++x) {
          const Extent p{q.depth * factor.depth + z, q.height * factor.height + y, q.width * factor.width + x};
          sum += static_cast<float>(dy.pixel(e.sample, index_of(p, dy.shape.extent()))[e.channel]);
        }
    dx.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum);
  }
};

/// One axis of a linear interpolation of `size` pixels.
struct LinearAxis {
  int factor;
  int size;
  bool align_corners;

  /// Where an output pixel samples: between `low` and `high`, `weight` of the way. A fraction of integers, so that the
  /// weights of a pixel do not depend on how far from 0 it lies.
  struct Sample {
    int low, high;
    float weight;
    /// What input pixel q counts in it.
    constexpr float of(int q) const { return (q == low ? 1.0f - weight : 0.0f) + (q == high ? weight : 0.0f); }
  };
  constexpr Sample at(int p) const {
    const int shifted = 2 * p + 1 - factor;
    const int numerator = align_corners ? p * (size - 1) : shifted > 0 ? shifted : 0;
    const int corners = size * factor - 1;
    const int denominator = !align_corners ? 2 * factor : corners > 1 ? corners : 1;
    const int below = numerator / denominator;
    const int low = below < size - 1 ? below : size - 1;
    return {low, low + 1 < size ? low + 1 : size - 1,
            static_cast<float>(numerator % denominator) / static_cast<float>(denominator)};
  }

  /// No output pixel outside [first, last] samples input pixel q.
  constexpr int first(int q) const {
    if (q == 0) return 0;
    return align_corners ? (q - 1) * (size * factor - 1) / (size - 1) : (q - 1) * factor;
  }
  constexpr int last(int q) const {
    if (q == size - 1) return size * factor - 1;
    const int p = align_corners ? (q + 1) * (size * factor - 1) / (size - 1) : (q + 2) * factor;
    return p < size * factor ? p : size * factor - 1;
  }
};

struct Linear {
  LinearAxis depth, height, width;
  Linear(const Node& node, const Shape& small)
      : depth{node.window.stride.depth, small.depth, node.align_corners},
        height{node.window.stride.height, small.height, node.align_corners},
        width{node.window.stride.width, small.width, node.align_corners} {}
};

template <class T>
struct UpsampleLinear {
  Tensor<T> x, y;
  Linear axes;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent p = position_of(e.pixel, y.shape.extent());
    const LinearAxis::Sample s[3] = {axes.depth.at(p.depth), axes.height.at(p.height), axes.width.at(p.width)};
    float sum = 0.0f;
    for (int i = 0; i < 8; ++i) {
      const bool z = (i & 4) != 0, v = (i & 2) != 0, h = (i & 1) != 0;
      const float weight = (z ? s[0].weight : 1.0f - s[0].weight) * (v ? s[1].weight : 1.0f - s[1].weight) *
                           (h ? s[2].weight : 1.0f - s[2].weight);
      if (weight == 0.0f) continue;  // a neighbour that is not read must not spread an infinity
      const Extent q{z ? s[0].high : s[0].low, v ? s[1].high : s[1].low, h ? s[2].high : s[2].low};
      sum += weight * static_cast<float>(x.pixel(e.sample, index_of(q, x.shape.extent()))[e.channel]);
    }
    y.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum);
  }
};

template <class T>
struct UpsampleLinearGradient {
  Tensor<T> dy, dx;
  Linear axes;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent q = position_of(e.pixel, dx.shape.extent());
    float sum = 0.0f;
    for (int z = axes.depth.first(q.depth); z <= axes.depth.last(q.depth); ++z) {
      const float by_depth = axes.depth.at(z).of(q.depth);
      for (int y = axes.height.first(q.height); y <= axes.height.last(q.height) && by_depth != 0.0f; ++y) {
        const float by_height = by_depth * axes.height.at(y).of(q.height);
        for (int x = axes.width.first(q.width); x <= axes.width.last(q.width) && by_height != 0.0f; ++x) {
          const float weight = by_height * axes.width.at(x).of(q.width);
          if (weight != 0.0f)
            sum += weight * static_cast<float>(dy.pixel(e.sample, index_of({z, y, x}, dy.shape.extent()))[e.channel]);
        }
      }
    }
    dx.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum);
  }
};

}  // namespace bodies

template <class Execution, class T>
void upsample_nearest(const Execution& on, const Call<T>& call) {
  each_element(on, "upsample_nearest", call.output,
               bodies::UpsampleNearest<T>{call.input[0], call.output, call.node->window.stride});
}

template <class Execution, class T>
void upsample_nearest_gradient(const Execution& on, const Call<T>& call) {
  each_element(on, "upsample_nearest_gradient", call.output,
               bodies::UpsampleNearestGradient<T>{call.input[0], call.output, call.node->window.stride});
}

template <class Execution, class T>
void upsample_bilinear(const Execution& on, const Call<T>& call) {
  each_element(on, "upsample_bilinear", call.output,
               bodies::UpsampleLinear<T>{call.input[0], call.output, {*call.node, call.input[0].shape}});
}

template <class Execution, class T>
void upsample_bilinear_gradient(const Execution& on, const Call<T>& call) {
  each_element(on, "upsample_bilinear_gradient", call.output,
               bodies::UpsampleLinearGradient<T>{call.input[0], call.output, {*call.node, call.output.shape}});
}

}  // namespace ulna::cuda
