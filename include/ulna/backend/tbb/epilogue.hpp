// SPDX-License-Identifier: MIT
// Bias and activation, applied to a block of sums while it is in the first-level cache.
#pragma once

#include <cstddef>

#include "ulna/backend/tbb/activate.hpp"
#include "ulna/backend/tbb/simd.hpp"
#include "ulna/graph/node.hpp"

namespace ulna::tbb_kernels {

template <class Isa>
struct Epilogue {
  using V = FloatVec<Isa>;

  const float* bias = nullptr;  ///< of the first channel of the block; null: none
  Activation activation = Activation::none;
  float slope = 0.0f;

  bool identity() const { return bias == nullptr && activation == Activation::none; }

  /// to[p to_step + k] = act(from[p from_step + k] + bias[k]); `from` has whole vectors, `to` may be the same block.
  template <class T>
  void finish(const float* from, std::ptrdiff_t from_step, T* to, std::ptrdiff_t to_step, int pixels,
              int channels) const {
    for (int k = 0; k < channels; k += V::width) {
      const int n = channels - k;
      const V b = !bias ? V::zero() : n >= V::width ? V::load(bias + k) : V::load_partial(bias + k, n);
      for (int p = 0; p < pixels; ++p) {
        const V y = activate(V::load(from + p * from_step + k) + b, activation, slope);
        if (n >= V::width)
          y.store(to + p * to_step + k);
        else
          y.store_partial(to + p * to_step + k, n);
      }
    }
  }

  /// The same with lanes along x: to[p to_step + k] = act(from[k from_step + p] + bias[k]).
  void finish_transposed(float* from, std::ptrdiff_t from_step, float* to, std::ptrdiff_t to_step, int pixels,
                         int channels) const {
    for (int k = 0; k < channels; ++k) {
      float* row = from + k * from_step;
      const V b = bias ? V::broadcast(bias[k]) : V::zero();
      for (int p = 0; p < pixels; p += V::width) activate(V::load(row + p) + b, activation, slope).store(row + p);
      for (int p = 0; p < pixels; ++p) to[p * to_step + k] = row[p];
    }
  }
};

}  // namespace ulna::tbb_kernels
