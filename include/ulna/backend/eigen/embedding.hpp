// SPDX-License-Identifier: MIT
// Position embeddings.
#pragma once

#include "ulna/backend/eigen/support.hpp"

namespace ulna::eigen {

/// y = x + table
template <class T>
void add_embedding(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  for (int n = 0; n < x.batch; ++n)
    pixels_of(call.output, n) =
        (pixels_of(x, n).template cast<double>() + pixels_of(call.input[1], 0).template cast<double>())
            .template cast<T>();
}

/// sum over samples of dy
template <class T>
void embedding_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  for (Index p = 0; p < dy.pixels(); ++p)
    for (int c = 0; c < dy.shape.channels; ++c) {
      T& g = call.output.data[p * dy.shape.channels + c];
      double sum = call.node->accumulate ? static_cast<double>(g) : 0.0;
      for (int n = 0; n < dy.batch; ++n) sum += static_cast<double>(dy.pixel(n, p)[c]);
      g = static_cast<T>(sum);
    }
}

}  // namespace ulna::eigen
