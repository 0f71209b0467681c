// SPDX-License-Identifier: MIT
// Activations on vectors, for every kernel that applies one in its own pass.
#pragma once

#include "ulna/backend/tbb/simd.hpp"
#include "ulna/graph/node.hpp"

namespace ulna::tbb_kernels {

/// act(x). The switch is on a loop invariant: its branch costs next to nothing, four loops would cost compile time.
template <class V>
[[gnu::always_inline]] inline V activate(V x, Activation kind, float slope) {
  switch (kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return select_less(x, V::zero(), V::zero(), x);
    case Activation::leaky_relu:
      return select_less(x, V::zero(), x * V::broadcast(slope), x);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::gelu:
      return x * phi(x);
  }
  return x;
}

/// The gradient before the activation, given the one after it and the activation's output y; for gelu y is the input.
template <class V>
[[gnu::always_inline]] inline V activation_backward(V dy, V y, Activation kind, float slope) {
  switch (kind) {
    case Activation::none:
      return dy;
    case Activation::relu:
      return select_greater(y, V::zero(), dy, V::zero());
    case Activation::leaky_relu:
      return select_greater(y, V::zero(), dy, dy * V::broadcast(slope));
    case Activation::sigmoid:
      return dy * (y * (V::broadcast(1.0f) - y));
    case Activation::gelu:
      return dy * (phi(y) + y * normal_density(y));
  }
  return dy;
}

}  // namespace ulna::tbb_kernels
