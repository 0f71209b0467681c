// SPDX-License-Identifier: MIT
// Max and average pooling, and their gradients.
#pragma once

#include <limits>

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Calls visit(input pixel) for every tap, in tap order, of the window at output pixel p that lies inside the image.
inline void for_each_tap(const Window& window, Extent box, Extent p, auto visit) {
  for (int t = 0; t < window.taps(); ++t) {
    const Extent q = under_window(window, p, t);
    if (inside(q, box)) visit(index_of(q, box));
  }
}

/// Calls visit(n, p, q) for every output pixel p of a pooling from `large` to `small` and input pixel q in its window.
template <class T>
void for_each_window(const Window& window, const Tensor<T>& small, const Tensor<T>& large, int n, auto visit) {
  for (Index p = 0; p < small.pixels(); ++p)
    for_each_tap(window, large.shape.extent(), position_of(p, small.shape.extent()), [&](Index q) { visit(n, p, q); });
}

/// y[p][c] = max over taps t inside the image of x[p stride + t dilation - pad][c]
template <class T>
void max_pool(const Call<T>& call) {
  for (int n = 0; n < call.output.batch; ++n) {
    pixels_of(call.output, n).setConstant(-std::numeric_limits<T>::infinity());
    for_each_window(call.node->window, call.output, call.input[0], n, [&](int, Index p, Index q) {
      auto y = channels_of(call.output, n, p);
      y = y.max(channels_of(call.input[0], n, q));
    });
  }
}

/// Each dy goes to the first tap that holds its window's maximum.
template <class T>
void max_pool_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Tensor<T>& x = call.input[1];
  scatter_samples(call, [&](int n, auto& sums) {
    for (Index p = 0; p < dy.pixels(); ++p) {
      const Extent at = position_of(p, dy.shape.extent());
      for (int c = 0; c < dy.shape.channels; ++c) {
        Index best = -1;
        for_each_tap(call.node->window, x.shape.extent(), at, [&](Index q) {
          if (best < 0 || x.pixel(n, q)[c] > x.pixel(n, best)[c]) best = q;
        });
        if (best >= 0) sums(best, c) += static_cast<double>(dy.pixel(n, p)[c]);
      }
    }
  });
}

/// y[p][c] = (1 / taps) sum over taps t inside the image of x[p stride + t dilation - pad][c]
template <class T>
void average_pool(const Call<T>& call) {
  const double share = 1.0 / call.node->window.taps();
  scatter_samples(call, [&](int n, auto& sums) {
    for_each_window(call.node->window, call.output, call.input[0], n, [&](int, Index p, Index q) {
      sums.row(p) += channels_of(call.input[0], n, q).template cast<double>();
    });
    sums *= share;
  });
}

/// dx[q] = (1 / taps) sum of dy over the windows that contain q
template <class T>
void average_pool_gradient(const Call<T>& call) {
  const double share = 1.0 / call.node->window.taps();
  scatter_samples(call, [&](int n, auto& sums) {
    for_each_window(call.node->window, call.input[0], call.output, n, [&](int, Index p, Index q) {
      sums.row(q) += channels_of(call.input[0], n, p).template cast<double>();
    });
    sums *= share;
  });
}

}  // namespace ulna::eigen
