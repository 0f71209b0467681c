// SPDX-License-Identifier: MIT
// Concatenation, cropping and padding.
#pragma once

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// Copies each input into its channels of the output, unless the memory plan has put it there.
template <class T>
void concat(const Call<T>& call) {
  int begin = 0;
  for (int i = 0; i < call.node->inputs(); ++i) {
    const Tensor<T>& x = call.input[static_cast<std::size_t>(i)];
    if (x.data != call.output.data + begin)
      for (int n = 0; n < x.batch; ++n) pixels_of(call.output, n).middleCols(begin, x.shape.channels) = pixels_of(x, n);
    begin += x.shape.channels;
  }
}

/// y[p] = x[p + pad_before]
template <class T>
void crop(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < call.output.pixels(); ++p) {
      const Extent q = each_axis([](int at, int before) { return at + before; },
                                 position_of(p, call.output.shape.extent()), call.node->window.pad_before);
      channels_of(call.output, n, p) = channels_of(x, n, index_of(q, x.shape.extent()));
    }
}

/// The pixel of the unpadded image that padded pixel p shows; outside the image for a zero border.
inline Extent padded_source(const Window& window, Extent p, Extent box) {
  const bool mirror = window.border == Border::reflect;
  return each_axis(
      [mirror](int at, int before, int size) {
        const int q = at - before;
        if (!mirror) return q;
        return q < 0 ? -q : q >= size ? 2 * (size - 1) - q : q;
      },
      p, window.pad_before, box);
}

/// y[p] = x[p - pad_before]; outside 0, or the mirrored image
template <class T>
void pad(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  for (int n = 0; n < x.batch; ++n)
    for (Index p = 0; p < call.output.pixels(); ++p) {
      const Extent q = padded_source(call.node->window, position_of(p, call.output.shape.extent()), x.shape.extent());
      auto y = channels_of(call.output, n, p);
      if (inside(q, x.shape.extent()))
        y = channels_of(x, n, index_of(q, x.shape.extent()));
      else
        y.setZero();
    }
}

/// dx[q] = sum of dy over every padded pixel that shows q
template <class T>
void pad_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  const Extent box = call.output.shape.extent();
  scatter_samples(call, [&](int n, auto& sums) {
    for (Index p = 0; p < dy.pixels(); ++p) {
      const Extent q = padded_source(call.node->window, position_of(p, dy.shape.extent()), box);
      if (inside(q, box)) sums.row(index_of(q, box)) += channels_of(dy, n, p).template cast<double>();
    }
  });
}

}  // namespace ulna::eigen
