// SPDX-License-Identifier: MIT
// What every kernel receives.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ulna/graph/node.hpp"
#include "ulna/random.hpp"

namespace ulna {

/// A view of a batch in memory, channels last: element (n, z, y, x, c) is at
/// data[n sample_stride + ((z height + y) width + x) pixel_stride + c].
/// A slice of a concatenation has pixel_stride > shape.channels; everything else is dense.
template <class T>
struct Tensor {
  T* data = nullptr;
  Shape shape{};
  int batch = 0;  ///< samples; 1 for a value that is not per sample
  std::ptrdiff_t pixel_stride = 0;
  std::ptrdiff_t sample_stride = 0;

  constexpr T* sample(int n) const { return data + n * sample_stride; }
  constexpr T* pixel(int n, std::ptrdiff_t index) const { return data + n * sample_stride + index * pixel_stride; }
  constexpr T* row(int n, int y) const { return pixel(n, std::ptrdiff_t{y} * shape.width); }
  constexpr std::ptrdiff_t pixels() const { return static_cast<std::ptrdiff_t>(shape.pixels()); }
  constexpr explicit operator bool() const { return data != nullptr; }
};

/// One node bound to memory. Weights are views too: shape {out, 1, taps, in} holds [tap][in][out], out fastest.
template <class T>
struct Call {
  const Node* node = nullptr;
  int batch = 0;
  Tensor<T> output{};
  std::array<Tensor<T>, max_inputs> input{};
  std::span<std::byte> scratch{};  ///< at least the bytes that the backend asked for this node, 64-byte aligned
  Seed seed{};                     ///< of the run: dropout
  std::uint64_t step = 0;          ///< of the run: dropout
  const Call* pool = nullptr;      ///< of a convolution: the 2x2 max pool of its output, which its kernel computes too
};

template <class T>
using Kernel = void (*)(const Call<T>&);

/// The same memory seen as what it holds. A call lists every operand as a Tensor of the backend's activations; those
/// that are kept in another type (a backend's Master: parameters, their gradients, statistics) are seen through this.
template <class U, class T>
Tensor<U> held_as(const Tensor<T>& x) {
  return {reinterpret_cast<U*>(x.data), x.shape, x.batch, x.pixel_stride, x.sample_stride};
}

}  // namespace ulna
