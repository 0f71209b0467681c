// SPDX-License-Identifier: MIT
// The convolution family of the CUDA backend by products of warpgroups, whose matrix descriptors are read as the PTX
// ISA states them.
#include "convolution_checks.hpp"

using namespace ulna;
using namespace ulna::cuda;

TEST_CASE("cuda convolution, warpgroups: random windows, slices and batches") {
  Random r(Seed{35});
  for (int i = 0; i < 12; ++i) {
    ConvolutionCase c = random_case(r, i % 2 == 0 ? Op::convolution : Op::transposed_convolution, 8);
    c.in = 8 * (3 + r.below(8));
    c.out = std::max(c.out, 33);
    check_case<Arithmetic::bf16>(c, {.late_copies = i % 3 != 0, .backwards = i % 4 == 1}, Hopper::warpgroups);
  }
}

TEST_CASE("cuda weight gradient, warpgroups: random windows, slices and batches") {
  Random r(Seed{36});
  for (int i = 0; i < 12; ++i) {
    ConvolutionCase c = random_case(r, Op::convolution_weight_gradient, 8);
    c.in = 8 * (1 + r.below(8));
    c.out = 8 * (5 + r.below(8));
    c.before = c.after = 8 * r.below(2);
    check_case<Arithmetic::bf16>(c, {.late_copies = i % 3 != 0, .backwards = i % 4 == 1}, Hopper::warpgroups);
  }
}

TEST_CASE("cuda weight gradient, warpgroups in tf32: random windows, slices and batches") {
  Random r(Seed{37});
  for (int i = 0; i < 16; ++i) {
    ConvolutionCase c = random_case(r, Op::convolution_weight_gradient, 4);
    c.in = 4 * (1 + r.below(16));
    c.out = 4 * (9 + r.below(26));  // one tile of 64 columns, or several
    c.before = c.after = 4 * r.below(3);
    check_case<Arithmetic::tf32>(c, {.late_copies = i % 3 != 0, .backwards = i % 4 == 1}, Hopper::warpgroups);
  }
}

TEST_CASE("cuda weight gradient, warpgroups in tf32: 128 columns, more steps than stages, early and late") {
  ConvolutionCase c{.op = Op::convolution_weight_gradient,
                    .window = window2d(3, 1, 1),
                    .in = 456,
                    .out = 512,
                    .small = {1, 10, 16},
                    .large = {1, 10, 16}};
  CHECK(plan_product({9 * c.in, c.out, 160}, {4, true, true, true, true}).kind == TileKind::warpgroup_medium);
  for (const bool late : {false, true}) check_case<Arithmetic::tf32>(c, {.late_copies = late}, Hopper::warpgroups);
}

TEST_CASE("cuda convolution, warpgroups: tiles of 64, 128 and 256 columns, early and late") {
  // more steps than stages, and enough rows for the wider tiles to be chosen
  const auto pixelwise = [](int in, int out, int height) {
    return ConvolutionCase{.window = window2d(1),
                           .in = in,
                           .out = out,
                           .small = {1, height, 128},
                           .large = {1, height, 128},
                           .biased = true};
  };
  for (const bool late : {false, true})
    check_case<Arithmetic::bf16>(pixelwise(328, 64, 2), {.late_copies = late}, Hopper::warpgroups);
  check_case<Arithmetic::bf16>(pixelwise(264, 128, 128), {.late_copies = false}, Hopper::warpgroups);
  check_case<Arithmetic::bf16>(pixelwise(264, 4096, 8), {}, Hopper::warpgroups);
  ConvolutionCase gradient = pixelwise(16, 256, 5);
  gradient.op = Op::convolution_weight_gradient;
  check_case<Arithmetic::bf16>(gradient, {}, Hopper::warpgroups);
}
