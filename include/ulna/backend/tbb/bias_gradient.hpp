// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// Op::bias_gradient: g[k] (+)= the sum of dy[k] over samples and pixels.
template <class Isa, class T = float>
void bias_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  float* gradient = held_as<float>(call.output).data;
  const auto add = [](int, int, const HalfVec<Isa>* v, DoubleVec<Isa>* sum) __attribute__((always_inline)) {
    sum[0] = sum[0] + to_double<Isa>(v[0]);
  };
  sum_channels<Isa, 1, 1, T>({&dy}, true, call.scratch.data(), add, [&](int, const double* sums) {
    for (int k = 0; k < dy.shape.channels; ++k) {
      float& to = gradient[k];
      to = static_cast<float>(call.node->accumulate ? static_cast<double>(to) + sums[k] : sums[k]);
    }
  });
}

template <class Isa, class T = float>
std::size_t bias_gradient_scratch_bytes(const Call<T>& call, int) {
  return sum_channels_bytes<Isa>(call.input[0], 1);
}

}  // namespace ulna::tbb_kernels
