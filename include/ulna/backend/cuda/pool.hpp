// SPDX-License-Identifier: MIT
// Max and average pooling. Gradients are gathered: each input pixel looks at the windows that contain it, so nothing is
// added to atomically.
#pragma once

#include "ulna/backend/cuda/elements.hpp"
#include "ulna/graph/window.hpp"

namespace ulna::cuda {

namespace bodies {

/// Calls visit(input pixel, its index) for the taps, in tap order, of the window at output pixel p that lie inside.
template <class Visit>
ULNA_HOST_DEVICE void for_each_tap(const Window& w, Extent p, Extent box, const Visit& visit) {
  for (int z = 0; z < w.kernel.depth; ++z)
    for (int y = 0; y < w.kernel.height; ++y)
      for (int x = 0; x < w.kernel.width; ++x) {
        const Extent q{p.depth * w.stride.depth + z * w.dilation.depth - w.pad_before.depth,
                       p.height * w.stride.height + y * w.dilation.height - w.pad_before.height,
                       p.width * w.stride.width + x * w.dilation.width - w.pad_before.width};
        if (inside(q, box)) visit(index_of(q, box));
      }
}

/// The output position along one axis whose tap reads q, or -1: (q + pad - tap dilation) / stride.
constexpr int window_that_reads(int q, int tap, int stride, int dilation, int pad, int outputs) {
  const int at = q + pad - tap * dilation;
  return at >= 0 && at % stride == 0 && at / stride < outputs ? at / stride : -1;
}

/// Calls visit(output pixel) for every window that contains input pixel q, in falling order of windows.
template <class Visit>
ULNA_HOST_DEVICE void for_each_window_around(const Window& w, Extent q, Extent outputs, const Visit& visit) {
  for (int z = 0; z < w.kernel.depth; ++z) {
    const int depth =
        window_that_reads(q.depth, z, w.stride.depth, w.dilation.depth, w.pad_before.depth, outputs.depth);
    for (int y = 0; y < w.kernel.height && depth >= 0; ++y) {
      const int height =
          window_that_reads(q.height, y, w.stride.height, w.dilation.height, w.pad_before.height, outputs.height);
      for (int x = 0; x < w.kernel.width && height >= 0; ++x) {
        const int width =
            window_that_reads(q.width, x, w.stride.width, w.dilation.width, w.pad_before.width, outputs.width);
        if (width >= 0) visit(Extent{depth, height, width});
      }
    }
  }
}

template <class T>
struct MaxPool {
  Tensor<T> x, y;
  Window window;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    float largest = -INFINITY;
    for_each_tap(window, position_of(e.pixel, y.shape.extent()), x.shape.extent(), [&](int q) {
      const auto v = static_cast<float>(x.pixel(e.sample, q)[e.channel]);
      largest = v > largest ? v : largest;
    });
    y.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(largest);
  }
};

template <class T>
struct MaxPoolGradient {
  Tensor<T> dy, x, dx;
  Window window;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    const Extent box = x.shape.extent();
    float sum = 0.0f;
    for_each_window_around(window, position_of(e.pixel, box), dy.shape.extent(), [&](Extent p) {
      int best = -1;
      float largest = 0.0f;
      for_each_tap(window, p, box, [&](int q) {
        const auto v = static_cast<float>(x.pixel(e.sample, q)[e.channel]);
        if (best >= 0 && !(v > largest)) return;
        best = q;
        largest = v;
      });
      if (best == e.pixel) sum += static_cast<float>(dy.pixel(e.sample, index_of(p, dy.shape.extent()))[e.channel]);
    });
    dx.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum);
  }
};

template <class T>
struct AveragePool {
  Tensor<T> x, y;
  Window window;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    float sum = 0.0f;
    for_each_tap(window, position_of(e.pixel, y.shape.extent()), x.shape.extent(),
                 [&](int q) { sum += static_cast<float>(x.pixel(e.sample, q)[e.channel]); });
    y.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum / static_cast<float>(window.taps()));
  }
};

template <class T>
struct AveragePoolGradient {
  Tensor<T> dy, dx;
  Window window;
  ULNA_HOST_DEVICE void operator()(const Element& e) const {
    float sum = 0.0f;
    for_each_window_around(window, position_of(e.pixel, dx.shape.extent()), dy.shape.extent(), [&](Extent p) {
      sum += static_cast<float>(dy.pixel(e.sample, index_of(p, dy.shape.extent()))[e.channel]);
    });
    dx.pixel(e.sample, e.pixel)[e.channel] = static_cast<T>(sum / static_cast<float>(window.taps()));
  }
};

}  // namespace bodies

template <class Execution, class T>
void max_pool(const Execution& on, const Call<T>& call) {
  each_element(on, "max_pool", call.output, bodies::MaxPool<T>{call.input[0], call.output, call.node->window});
}

/// Each dy goes to the first tap that holds its window's maximum.
template <class Execution, class T>
void max_pool_gradient(const Execution& on, const Call<T>& call) {
  each_element(on, "max_pool_gradient", call.output,
               bodies::MaxPoolGradient<T>{call.input[0], call.input[1], call.output, call.node->window});
}

template <class Execution, class T>
void average_pool(const Execution& on, const Call<T>& call) {
  each_element(on, "average_pool", call.output, bodies::AveragePool<T>{call.input[0], call.output, call.node->window});
}

template <class Execution, class T>
void average_pool_gradient(const Execution& on, const Call<T>& call) {
  each_element(on, "average_pool_gradient", call.output,
               bodies::AveragePoolGradient<T>{call.input[0], call.output, call.node->window});
}

}  // namespace ulna::cuda
