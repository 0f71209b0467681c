// SPDX-License-Identifier: MIT
// Position embeddings.
#pragma once

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// y = x + table
template <class Isa>
void add_embedding(const Call<float>& call) {
  Tensor<float> table = call.input[1];
  table.sample_stride = 0;  // every sample reads the one table
  map_elements<Isa, 2>(
      call.output, {&call.input[0], &table}, [](const auto* v) __attribute__((always_inline)) { return v[0] + v[1]; });
}

/// g[p][c] (+)= the sum over samples of dy[n][p][c]
template <class Isa>
void embedding_gradient(const Call<float>& call) {
  const Tensor<float>& dy = call.input[0];
  const int channels = dy.shape.channels;
  const int parts = fixed_parts(dy.pixels() * channels * dy.batch, block_elements, 1024);
  parallel_tasks<Isa>(parts, [&](int part) {
    const Range pixels = part_of(dy.pixels(), parts, part);
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p)
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            float* to = call.output.data + p * channels + c;
            V sum = call.node->accumulate ? V::load(to) : V::zero();
            for (int n = 0; n < dy.batch; ++n) sum = sum + V::load(dy.pixel(n, p) + c);
            sum.store(to);
          });
  });
}

}  // namespace ulna::tbb_kernels
