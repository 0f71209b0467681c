// SPDX-License-Identifier: MIT
// Concatenation, cropping and padding.
#pragma once

#include "ulna/backend/cuda/elements.hpp"

namespace ulna::cuda {

namespace bodies {

struct Copy {
  ULNA_HOST_DEVICE float operator()(std::int64_t, int, float x) const { return x; }
};

template <class T>
struct Crop {
  Tensor<T> x, y;
  Extent before;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent p = position_of(e.pixel, y.shape.extent());
    const Extent q{p.depth + before.depth, p.height + before.height, p.width + before.width};
    y.pixel(e.sample, e.pixel)[e.channel] = x.pixel(e.sample, index_of(q, x.shape.extent()))[e.channel];
  }
};

/// The pixel along an axis of `size` that position `at` of the padded axis shows; outside [0, size) for a zero border.
constexpr int padded_source(int at, int before, int size, Border border) {
  const int q = at - before;
  if (border == Border::zero) return q;
  return q < 0 ? -q : q >= size ? 2 * (size - 1) - q : q;
}

template <class T>
struct Pad {
  Tensor<T> x, y;
  Extent before;
  Border border;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent box = x.shape.extent();
    const Extent p = position_of(e.pixel, y.shape.extent());
    const Extent q{padded_source(p.depth, before.depth, box.depth, border),
                   padded_source(p.height, before.height, box.height, border),
                   padded_source(p.width, before.width, box.width, border)};
    y.pixel(e.sample, e.pixel)[e.channel] =
        inside(q, box) ? x.pixel(e.sample, index_of(q, box))[e.channel] : static_cast<T>(0.0f);
  }
};

/// Where a padded axis shows pixel q of an axis of `size`: itself (0), mirrored before (1) or behind (2); -1: not
/// there.
constexpr int shown_at(int image, int q, int before, int size, int padded, Border border) {
  if (image == 0) return q + before;
  if (border == Border::zero) return -1;
  if (image == 1) return q > 0 ? before - q : -1;
  const int p = before + 2 * (size - 1) - q;
  return q < size - 1 && p < padded ? p : -1;
}

template <class T>
struct PadGradient {
  Tensor<T> dy, dx;
  Extent before;
  Border border;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent box = dx.shape.extent();
    const Extent padded = dy.shape.extent();
    const Extent q = position_of(e.pixel, box);
    float sum = 0.0f;
    for (int i = 0; i < 3; ++i) {
      const int z = shown_at(i, q.depth, before.depth, box.depth, padded.depth, border);
      for (int j = 0; j < 3 && z >= 0; ++j) {
        const int y = shown_at(j, q.height, before.height, box.height, padded.height, border);
        for (int k = 0; k < 3 && y >= 0; ++k) {
          const int x = shown_at(k, q.width, before.width, box.width, padded.width, border);
          if (x >= 0) sum += static_cast<float>(dy.pixel(e.sample, index_of({z, y, x}, padded))[e.channel]);
        }
      }
    }
    dx.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum);
  }
};

}  // namespace bodies

/// Copies each input into its channels of the output, unless the memory plan has put it there.
template <class Execution, class T>
void concat(const Execution& on, const Call<T>& call) {
  int begin = 0;
  for (int i = 0; i < call.node->inputs(); ++i) {
    const Tensor<T>& x = call.input[static_cast<std::size_t>(i)];
    Tensor<T> part = call.output;
    part.data += begin;
    part.shape.channels = x.shape.channels;
    if (x.data != part.data) map_elements(on, "concat", bodies::Copy{}, part, x);
    begin += x.shape.channels;
  }
}

/// y[p] = x[p + pad_before]
template <class Execution, class T>
void crop(const Execution& on, const Call<T>& call) {
  each_element(on, "crop", call.output, bodies::Crop<T>{call.input[0], call.output, call.node->window.pad_before});
}

/// y[p] = x[p - pad_before]; outside 0, or the mirrored image
template <class Execution, class T>
void pad(const Execution& on, const Call<T>& call) {
  const Window& w = call.node->window;
  each_element(on, "pad", call.output, bodies::Pad<T>{call.input[0], call.output, w.pad_before, w.border});
}

/// dx[q] = sum of dy over every padded pixel that shows q
template <class Execution, class T>
void pad_gradient(const Execution& on, const Call<T>& call) {
  const Window& w = call.node->window;
  each_element(on, "pad_gradient", call.output,
               bodies::PadGradient<T>{call.input[0], call.output, w.pad_before, w.border});
}

}  // namespace ulna::cuda
