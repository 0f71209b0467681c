// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "ulna/graph/shape.hpp"

namespace ulna {

/// What a window sees outside the image: zeros, or the image mirrored without repeating its edge (PyTorch's "reflect").
enum class Border : std::uint8_t { zero, reflect };

/// A sliding window: of a convolution, of a pooling, or of the convolution that a transposed convolution is the adjoint
/// of. Padding may differ on the two sides.
struct Window {
  Extent kernel{1, 1, 1};
  Extent stride{1, 1, 1};
  Extent dilation{1, 1, 1};
  Extent pad_before{0, 0, 0};
  Extent pad_after{0, 0, 0};
  Border border = Border::zero;

  constexpr bool operator==(const Window&) const = default;
  constexpr int taps() const { return static_cast<int>(kernel.volume()); }
};

/// Pixels that a dilated kernel spans along one axis.
constexpr int span_of(int kernel, int dilation) { return dilation * (kernel - 1) + 1; }

/// floor((padded - span) / stride) + 1: the extent of a convolution's or pooling's output along one axis.
constexpr int window_output(int input, int kernel, int stride, int dilation, int pad) {
  return (input + pad - span_of(kernel, dilation)) / stride + 1;
}

/// (input - 1) stride - padding + span: the extent of a transposed convolution's output along one axis.
constexpr int transposed_output(int input, int kernel, int stride, int dilation, int pad) {
  return (input - 1) * stride - pad + span_of(kernel, dilation);
}

constexpr Extent window_output(Extent input, const Window& w) {
  return {window_output(input.depth, w.kernel.depth, w.stride.depth, w.dilation.depth,
                        w.pad_before.depth + w.pad_after.depth),
          window_output(input.height, w.kernel.height, w.stride.height, w.dilation.height,
                        w.pad_before.height + w.pad_after.height),
          window_output(input.width, w.kernel.width, w.stride.width, w.dilation.width,
                        w.pad_before.width + w.pad_after.width)};
}

constexpr Extent transposed_output(Extent input, const Window& w) {
  return {transposed_output(input.depth, w.kernel.depth, w.stride.depth, w.dilation.depth,
                            w.pad_before.depth + w.pad_after.depth),
          transposed_output(input.height, w.kernel.height, w.stride.height, w.dilation.height,
                            w.pad_before.height + w.pad_after.height),
          transposed_output(input.width, w.kernel.width, w.stride.width, w.dilation.width,
                            w.pad_before.width + w.pad_after.width)};
}

/// A square window in the image plane.
constexpr Window window2d(int kernel, int stride = 1, int pad = 0, int dilation = 1) {
  return {{1, kernel, kernel}, {1, stride, stride}, {1, dilation, dilation},
          {0, pad, pad},       {0, pad, pad},       Border::zero};
}

}  // namespace ulna
