// SPDX-License-Identifier: MIT
// Position embeddings.
#pragma once

#include "ulna/backend/tbb/walk.hpp"

namespace ulna::tbb_kernels {

/// y = x + table
template <class Isa, class T = float>
void add_embedding(const Call<T>& call) {
  const Tensor<T>& x = call.input[0];
  const Tensor<T>& y = call.output;
  const float* table = held_as<float>(call.input[1]).data;
  const int channels = x.shape.channels;
  for_each_block<Isa>(y, [&](int n, Range pixels) {
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p)
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            (V::load(x.pixel(n, p) + c) + V::load(table + p * channels + c)).store(y.pixel(n, p) + c);
          });
  });
}

/// g[p][c] (+)= the sum over samples of dy[n][p][c]
template <class Isa, class T = float>
void embedding_gradient(const Call<T>& call) {
  const Tensor<T>& dy = call.input[0];
  float* gradient = held_as<float>(call.output).data;
  const int channels = dy.shape.channels;
  const int parts = fixed_parts(dy.pixels() * channels * dy.batch, block_elements, 1024);
  parallel_tasks<Isa>(parts, [&](int part) {
    const Range pixels = part_of(dy.pixels(), parts, part);
    for (std::ptrdiff_t p = pixels.begin; p < pixels.end; ++p)
      for_channels<Isa::width>(
          channels, [&](auto vec, int c) __attribute__((always_inline)) {
            using V = decltype(vec);
            float* to = gradient + p * channels + c;
            V sum = call.node->accumulate ? V::load(to) : V::zero();
            for (int n = 0; n < dy.batch; ++n) sum = sum + V::load(dy.pixel(n, p) + c);
            sum.store(to);
          });
  });
}

}  // namespace ulna::tbb_kernels
