// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/backend/cuda/reduction.hpp"

namespace ulna::cuda {

namespace bodies {

template <class T>
struct BiasGradient {
  static constexpr int sums = 1;
  Tensor<T> dy;
  float* gradient;
  bool accumulate;
  ULNA_HOST_DEVICE void add(std::int64_t, std::int64_t q, int k, double* sum) const {
    sum[0] += static_cast<double>(static_cast<float>(row_of(dy, q)[k]));
  }
  ULNA_HOST_DEVICE void finish(std::int64_t, int k, const double* sum) const {
    gradient[k] = static_cast<float>(accumulate ? static_cast<double>(gradient[k]) + sum[0] : sum[0]);
  }
};

}  // namespace bodies

struct BiasGradientBuffers {
  template <class T>
  BiasGradientBuffers(const Call<T>& call, Workspace& w)
      : shape(ReductionShape::of(1, rows_of(call.input[0]), call.input[0].shape.channels)),
        partial(w.take<double>(shape.partials(1))) {}
  ReductionShape shape;
  double* partial;
};

/// g[k] = sum over samples and pixels of dy[k]
template <class Execution, class T>
void bias_gradient(const Execution& on, const Call<T>& call) {
  const auto b = buffers_of<BiasGradientBuffers>(call);
  reduce(on, "bias_gradient", b.shape, b.partial,
         bodies::BiasGradient<T>{call.input[0], held_as<float>(call.output).data, call.node->accumulate});
}

}  // namespace ulna::cuda
