// SPDX-License-Identifier: MIT
// Convolution, transposed convolution and the weight gradient as products of matrices: the pixels that the window sees
// are gathered into a patch (one row an output pixel, one column a tap and channel) and multiplied by the weight.
#pragma once

#include "ulna/backend/eigen/pool.hpp"
#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// A product takes this many pixels, unused rows zero, so that each pixel is summed in one order wherever it lies:
/// Eigen sums a block's remainder differently.
inline constexpr Index pixel_block = 64;
/// Weights are multiplied in panels of at most this many rows and columns, which Eigen packs on the stack, not the
/// heap.
inline constexpr Index panel_block = 64;

/// A regular subset of an image's pixels: first + step j.
struct Lattice {
  Extent first{0, 0, 0};
  Extent step{1, 1, 1};
  Extent count{};

  Index size() const { return static_cast<Index>(count.volume()); }
  Extent at(Index j) const {
    return each_axis([](int f, int s, int i) { return f + s * i; }, first, step, position_of(j, count));
  }
};

/// Buffers of a product for `call`: the (pixel_block, taps x channels) patch, a panel of the weight, the sums, tap
/// numbers.
struct ProductBuffers {
  template <class T>
  ProductBuffers(const Call<T>& call, Workspace& w)
      : patch(w.take<double>(pixel_block * call.node->window.taps() * call.input[0].shape.channels)),
        panel(w.take<double>(panel_block * panel_block)),
        sums(w.take<double>(pixel_block * call.output.shape.channels)),
        taps(w.take<int>(call.node->window.taps())) {}
  double* patch;
  double* panel;
  double* sums;
  int* taps;
};

/// Pixels [first, first + pixel_block) of `lattice`: what each of `count` taps reads, side by side. Outside the image
/// and beyond the lattice are zeros. `source(p, tap)` is the position that output pixel p reads.
template <class T>
void gather(const Tensor<T>& x, int n, const Lattice& lattice, Index first, const int* taps, int count, auto source,
            Panel& patch) {
  const Index channels = x.shape.channels;
  const Extent box = x.shape.extent();
  for (Index j = 0; j < pixel_block; ++j) {
    const bool used = first + j < lattice.size();
    const Extent p = used ? lattice.at(first + j) : Extent{};
    for (int t = 0; t < count; ++t) {
      auto to = patch.row(j).segment(t * channels, channels).array();
      const Extent q = used ? source(p, taps[t]) : Extent{-1, -1, -1};
      if (inside(q, box))
        to = channels_of(x, n, index_of(q, box)).template cast<double>();
      else
        to.setZero();
    }
  }
}

/// sums = patch x weight, where row (t, c) of the weight is tap b.taps[t], input channel c.
template <class T>
void multiply_by_weight(const Call<T>& call, const ProductBuffers& b, const Panel& patch, Panel& sums) {
  const Index in = call.input[0].shape.channels;
  const Index out = call.output.shape.channels;
  const Index in_step = call.node->swap_channels ? 1 : out;
  const Index out_step = call.node->swap_channels ? in : 1;
  sums.setZero();
  for (Index row = 0; row < patch.cols(); row += panel_block) {
    const Index rows = std::min(panel_block, patch.cols() - row);
    for (Index column = 0; column < out; column += panel_block) {
      const Index columns = std::min(panel_block, out - column);
      Panel panel(b.panel, rows, columns);
      for (Index r = 0; r < rows; ++r) {
        const Index tap = b.taps[(row + r) / in];
        const T* w = call.input[1].data + tap * in * out + (row + r) % in * in_step + column * out_step;
        for (Index k = 0; k < columns; ++k) panel(r, k) = static_cast<double>(w[k * out_step]);
      }
      sums.middleCols(column, columns).noalias() += patch.middleCols(row, rows) * panel;
    }
  }
}

/// y = act(sums), and the residual of a convolution; the bits of a convolution, a sum and an activation one by one. y
/// may be the residual.
template <class T>
void store_sums(const Call<T>& call, auto sums, int n, Index pixel) {
  auto y = channels_of(call.output, n, pixel);
  if (call.node->residual == ResidualSum::none) return store_activated<T>(*call.node, sums, y);
  const auto residual = channels_of(call.input[residual_input], n, pixel);
  const auto rounded = [](double v) { return static_cast<double>(static_cast<T>(v)); };
  if (call.node->residual == ResidualSum::before_activation) {
    sums = sums.unaryExpr(rounded) + residual.template cast<double>();
    return store_activated<T>(*call.node, sums, y);
  }
  store_activated<double>(*call.node, sums, sums);
  y = (sums.unaryExpr(rounded) + residual.template cast<double>()).template cast<T>();
}

/// The output pixels of `lattice`, which read the first `taps` numbers of b.taps.
template <class T>
void convolve(const Call<T>& call, const ProductBuffers& b, const Lattice& lattice, int taps, auto source) {
  const Tensor<T>& y = call.output;
  Panel patch(b.patch, pixel_block, Index{taps} * call.input[0].shape.channels);
  Panel sums(b.sums, pixel_block, y.shape.channels);
  for (int n = 0; n < y.batch; ++n) {
    for (Index first = 0; first < lattice.size(); first += pixel_block) {
      gather(call.input[0], n, lattice, first, b.taps, taps, source, patch);
      multiply_by_weight(call, b, patch, sums);
      for (Index j = 0; j < std::min(pixel_block, lattice.size() - first); ++j) {
        if (call.input[2]) sums.row(j).array() += record_of(call.input[2]).template cast<double>();
        store_sums(call, sums.row(j).array(), n, index_of(lattice.at(first + j), y.shape.extent()));
      }
    }
  }
}

/// y[p][k] = act( bias[k] + sum over t, c of x[p stride + t dilation - pad][c] w[t][c][k] ), and the residual
template <class T>
void convolution(const Call<T>& call) {
  const Window& window = call.node->window;
  const auto b = buffers_of<ProductBuffers>(call);
  for (int t = 0; t < window.taps(); ++t) b.taps[t] = t;
  convolve(call, b, Lattice{.count = call.output.shape.extent()}, window.taps(),
           [&](Extent p, int tap) { return under_window(window, p, tap); });
  if (call.pool != nullptr) max_pool(*call.pool);
}

/// y[q][k] = act( bias[k] + sum over t, c of x[(q + pad - t dilation) / stride][c] w[t][c][k] ), over the taps that
/// divide. Which taps divide depends on q modulo stride alone, so the output is computed as stride^3 lattices.
template <class T>
void transposed_convolution(const Call<T>& call) {
  const Window& w = call.node->window;
  const auto b = buffers_of<ProductBuffers>(call);
  const auto shifted = [&](Extent q, int tap) {
    return each_axis([](int at, int t, int dilation, int pad) { return at + pad - t * dilation; }, q,
                     position_of(tap, w.kernel), w.dilation, w.pad_before);
  };
  const auto divided = [&](Extent q, int tap) {
    return each_axis([](int at, int stride) { return at < 0 ? -1 : at / stride; }, shifted(q, tap), w.stride);
  };
  for (Index phase = 0; phase < w.stride.volume(); ++phase) {
    Lattice lattice{.first = position_of(phase, w.stride), .step = w.stride};
    lattice.count = each_axis([](int size, int f, int s) { return size > f ? (size - f - 1) / s + 1 : 0; },
                              call.output.shape.extent(), lattice.first, lattice.step);
    int taps = 0;
    for (int t = 0; t < w.taps(); ++t) {
      const Extent rest =
          each_axis([](int at, int stride) { return at % stride; }, shifted(lattice.first, t), w.stride);
      if (rest == Extent{0, 0, 0}) b.taps[taps++] = t;
    }
    convolve(call, b, lattice, taps, divided);
  }
}

/// Buffers of the weight gradient: what one tap reads of the large image, the small image's pixels, the sums.
struct WeightGradientBuffers {
  template <class T>
  WeightGradientBuffers(const Call<T>& call, Workspace& w)
      : large(w.take<double>(pixel_block * call.input[0].shape.channels)),
        small(w.take<double>(pixel_block * call.input[1].shape.channels)),
        sums(w.take<double>(Index{call.input[0].shape.channels} * call.input[1].shape.channels)) {}
  double* large;
  double* small;
  double* sums;
};

/// Writes one tap's sums (large channel, small channel) where the weight keeps them.
template <class T>
void store_tap(const Call<T>& call, const Panel& sums, Index tap) {
  T* g = call.output.data + tap * sums.size();
  const Index l_step = call.node->swap_channels ? 1 : sums.cols();
  const Index s_step = call.node->swap_channels ? sums.rows() : 1;
  for (Index l = 0; l < sums.rows(); ++l)
    for (Index s = 0; s < sums.cols(); ++s) {
      T& to = g[l * l_step + s * s_step];
      to = static_cast<T>(sums(l, s) + (call.node->accumulate ? static_cast<double>(to) : 0.0));
    }
}

/// g[t][l][s] = sum over samples and pixels p of small of large[p stride + t dilation - pad][l] small[p][s]
template <class T>
void convolution_weight_gradient(const Call<T>& call) {
  const Window& window = call.node->window;
  const Tensor<T>& large = call.input[0];
  const Tensor<T>& small = call.input[1];
  const auto b = buffers_of<WeightGradientBuffers>(call);
  const Index rows = large.shape.channels;
  const Index columns = small.shape.channels;
  const Lattice lattice{.count = small.shape.extent()};
  Panel patch(b.large, pixel_block, rows);
  Panel pixels(b.small, pixel_block, columns);
  Panel sums(b.sums, rows, columns);
  const int here = 0;
  for (int tap = 0; tap < window.taps(); ++tap) {
    sums.setZero();
    for (int n = 0; n < small.batch; ++n) {
      for (Index first = 0; first < lattice.size(); first += pixel_block) {
        gather(
            large, n, lattice, first, &tap, 1, [&](Extent p, int t) { return under_window(window, p, t); }, patch);
        gather(
            small, n, lattice, first, &here, 1, [](Extent p, int) { return p; }, pixels);
        for (Index l = 0; l < rows; l += panel_block)
          for (Index s = 0; s < columns; s += panel_block) {
            const Index ls = std::min(panel_block, rows - l);
            const Index ss = std::min(panel_block, columns - s);
            sums.block(l, s, ls, ss).noalias() += patch.middleCols(l, ls).transpose() * pixels.middleCols(s, ss);
          }
      }
    }
    store_tap(call, sums, tap);
  }
}

/// g[k] = sum over samples and pixels of dy[k]
template <class T>
void bias_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  Channels<double> sums(buffers_of<ChannelSums>(call).data, dy.shape.channels);
  sums.setZero();
  for (int n = 0; n < dy.batch; ++n)
    for (Index p = 0; p < dy.pixels(); ++p) sums += channels_of(dy, n, p).template cast<double>();
  store_gradient(call, sums);
}

}  // namespace ulna::eigen
