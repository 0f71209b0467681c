// SPDX-License-Identifier: MIT
// Which input pixel an output pixel and a tap read: the index arithmetic of the convolution family, on both sides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>

#include "ulna/backend/cuda/host_device.hpp"
#include "ulna/backend/tensor.hpp"

namespace ulna::cuda {

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }

/// One phase of one axis: output q phases + phase reads the input at q step + first_offset + j offset_step through tap
/// first_tap + j tap_step, for j in [0, taps). A phase may read nothing.
struct AxisWalk {
  int phases = 1, phase = 0;
  int count = 0;  ///< outputs of this phase
  int step = 1;
  int taps = 0;
  int first_tap = 0, tap_step = 1;
  int first_offset = 0, offset_step = 0;
};

/// One axis of a convolution or of its adjoint. A convolution has one phase. The adjoint of one with stride s has s
/// phases, each a convolution of stride 1 with those taps t for which (phase + pad - t dilation) is divisible by s:
/// every (s / gcd(s, dilation))-th tap, or none.
struct AxisGeometry {
  int kernel = 1, stride = 1, dilation = 1, pad = 0;
  int input = 1, output = 1;
  bool transposed = false;

  constexpr int phases() const { return transposed ? stride : 1; }

  constexpr AxisWalk walk(int phase) const {
    if (!transposed) return {1, 0, output, stride, kernel, 0, 1, -pad, dilation};
    const int period = stride / std::gcd(stride, dilation);
    AxisWalk w{stride, phase, output > phase ? (output - phase - 1) / stride + 1 : 0, 1, 0, 0, period, 0, 0};
    w.offset_step = -(period * dilation / stride);
    while (w.first_tap < period && (phase + pad - w.first_tap * dilation) % stride != 0) ++w.first_tap;
    if (w.first_tap >= period || w.first_tap >= kernel) return w;  // no tap divides: this phase sees only the bias
    w.taps = (kernel - w.first_tap - 1) / period + 1;
    w.first_offset = (phase + pad - w.first_tap * dilation) / stride;
    return w;
  }
};

/// The three axes of a window between an input and an output.
struct WindowGeometry {
  AxisGeometry z, y, x;

  constexpr int phases() const { return z.phases() * y.phases() * x.phases(); }
  constexpr int taps() const { return z.kernel * y.kernel * x.kernel; }
  constexpr Extent kernel() const { return {z.kernel, y.kernel, x.kernel}; }
};

constexpr WindowGeometry window_geometry(const Window& w, Extent input, Extent output, bool transposed) {
  return {
      {w.kernel.depth, w.stride.depth, w.dilation.depth, w.pad_before.depth, input.depth, output.depth, transposed},
      {w.kernel.height, w.stride.height, w.dilation.height, w.pad_before.height, input.height, output.height,
       transposed},
      {w.kernel.width, w.stride.width, w.dilation.width, w.pad_before.width, input.width, output.width, transposed}};
}

/// One phase of all axes.
struct PhaseWalk {
  AxisWalk z, y, x;
  int first_tap = 0;      ///< the first one's number in the weight
  bool in_order = false;  ///< the others follow it there, one by one

  constexpr int taps() const { return z.taps * y.taps * x.taps; }
  constexpr int pixels() const { return z.count * y.count * x.count; }  ///< outputs of a sample
};

/// Sample and position of row `row` of a product whose rows are the pixels of boxes: batch, z, y, x, x fastest.
struct PixelPosition {
  int n = 0, z = 0, y = 0, x = 0;

  constexpr PixelPosition() = default;
  constexpr PixelPosition(int row, int depth, int height, int width) {
    const int line = row / width;  // three divisions: they are slow
    x = row - line * width;
    const int plane = line / height;
    y = line - plane * height;
    n = plane / depth;
    z = plane - n * depth;
  }

  /// `count` pixels further.
  constexpr void advance(int count, int depth, int height, int width) {
    x += count;
    while (x >= width) {
      x -= width;
      if (++y < height) continue;
      y = 0;
      if (++z < depth) continue;
      z = 0;
      ++n;
    }
  }
};

/// Index of an output pixel of a phase in its sample.
constexpr std::ptrdiff_t output_index(const Shape& output, const PhaseWalk& w, const PixelPosition& q) {
  const std::ptrdiff_t z = q.z * w.z.phases + w.z.phase;
  const std::ptrdiff_t y = q.y * w.y.phases + w.y.phase;
  return (z * output.height + y) * output.width + q.x * w.x.phases + w.x.phase;
}

/// A place along the summed axis of a product: channel c of tap (jz, jy, jx) of a phase, c fastest.
struct TapPosition {
  int c = 0, jx = 0, jy = 0, jz = 0;

  constexpr TapPosition() = default;
  constexpr TapPosition(int k, int channels, const PhaseWalk& w) {
    if (w.taps() == 0) return;
    const int j = k / channels;
    c = k - j * channels;
    const int line = j / w.x.taps;
    jx = j - line * w.x.taps;
    jz = line / w.y.taps;
    jy = line - jz * w.y.taps;
  }

  constexpr void advance(int count, int channels, const PhaseWalk& w) {
    c += count;
    while (c >= channels) {
      c -= channels;
      if (++jx < w.x.taps) continue;
      jx = 0;
      if (++jy < w.y.taps) continue;
      jy = 0;
      ++jz;
    }
  }

  constexpr bool inside(const PhaseWalk& w) const { return jz < w.z.taps; }

  /// The number of the tap in the weight of a kernel.
  constexpr int tap(const Extent& kernel, const PhaseWalk& w) const {
    const int z = w.z.first_tap + jz * w.z.tap_step;
    const int y = w.y.first_tap + jy * w.y.tap_step;
    return (z * kernel.height + y) * kernel.width + w.x.first_tap + jx * w.x.tap_step;
  }
};

constexpr PhaseWalk walk_phase(const WindowGeometry& g, int phase) {
  const int px = phase % g.x.phases();
  const int py = phase / g.x.phases() % g.y.phases();
  const int pz = phase / g.x.phases() / g.y.phases();
  PhaseWalk w{g.z.walk(pz), g.y.walk(py), g.x.walk(px)};
  w.first_tap = TapPosition(0, 1, w).tap(g.kernel(), w);
  w.in_order = true;
  for (int j = 1; j < w.taps(); ++j)
    w.in_order = w.in_order && TapPosition(j, 1, w).tap(g.kernel(), w) == w.first_tap + j;
  return w;
}

/// The largest number of outputs, and of taps, that a phase has: the first phase has the most outputs.
constexpr int most_pixels(const WindowGeometry& g) { return walk_phase(g, 0).pixels(); }
constexpr int most_taps(const WindowGeometry& g) {
  const auto most = [](const AxisGeometry& a) {
    int n = 0;
    for (int p = 0; p < a.phases(); ++p) n = n > a.walk(p).taps ? n : a.walk(p).taps;
    return n;
  };
  return most(g.z) * most(g.y) * most(g.x);
}

/// As many phases as one launch takes: parameters of a kernel lie in constant memory, and not much fits there.
struct PhaseTable {
  static constexpr int capacity = 8;
  PhaseWalk walk[capacity];

  /// The phases from `first` on.
  static constexpr PhaseTable of(const WindowGeometry& g, int first) {
    PhaseTable t{};
    for (int i = 0; i < capacity && first + i < g.phases(); ++i) t.walk[i] = walk_phase(g, first + i);
    return t;
  }
};

/// True where 0 <= at < size, in one comparison.
constexpr bool within(int at, int size) { return static_cast<unsigned>(at) < static_cast<unsigned>(size); }

}  // namespace ulna::cuda
