// SPDX-License-Identifier: MIT
// The convolution family of the CUDA backend on tensor cores in bf16, blocks and matrix instructions emulated.
#include "convolution_checks.hpp"

using namespace ulna;
using namespace ulna::cuda;

TEST_CASE("cuda convolution, bf16: random windows, channels, slices and batches") {
  Random r(Seed{33});
  for (int i = 0; i < 30; ++i) {
    const Op op = i % 2 == 0 ? Op::convolution : Op::transposed_convolution;
    check_case<Arithmetic::bf16>(random_case(r, op, 8), {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
  }
}

TEST_CASE("cuda weight gradient, bf16: random windows, channels, slices and batches") {
  Random r(Seed{34});
  for (int i = 0; i < 24; ++i)
    check_case<Arithmetic::bf16>(random_case(r, Op::convolution_weight_gradient, 8),
                                 {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
}

TEST_CASE("cuda convolution, bf16: all tiles, every fragment") {
  // 128 columns in tiles of 128, 64 and 32; sums split and not
  for (const int out : {24, 32, 64, 128, 136, 256})
    check_case<Arithmetic::bf16>({.in = 32, .out = out, .small = {1, 12, 12}, .large = {1, 12, 12}, .biased = true});
  check_case<Arithmetic::bf16>({.window = window2d(1),
                                .batch = 2,
                                .in = 8,
                                .out = 2048,
                                .small = {1, 24, 23},
                                .large = {1, 24, 23},
                                .activation = Activation::relu});
  check_case<Arithmetic::bf16>({.op = Op::convolution_weight_gradient,
                                .window = window2d(1),
                                .in = 1024,
                                .out = 2048,
                                .small = {1, 3, 3},
                                .large = {1, 3, 3}});
}
