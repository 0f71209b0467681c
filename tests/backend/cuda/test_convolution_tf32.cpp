// SPDX-License-Identifier: MIT
// The convolution family of the CUDA backend on tensor cores in tf32, blocks and matrix instructions emulated.
#include "convolution_checks.hpp"

using namespace ulna;
using namespace ulna::cuda;

TEST_CASE("cuda convolution, tf32: random windows, channels, slices and batches") {
  Random r(Seed{33});
  for (int i = 0; i < 30; ++i) {
    const Op op = i % 2 == 0 ? Op::convolution : Op::transposed_convolution;
    check_case<Arithmetic::tf32>(random_case(r, op, 4), {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
  }
}

TEST_CASE("cuda weight gradient, tf32: random windows, channels, slices and batches") {
  Random r(Seed{34});
  for (int i = 0; i < 24; ++i)
    check_case<Arithmetic::tf32>(random_case(r, Op::convolution_weight_gradient, 4),
                                 {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
}

TEST_CASE("cuda convolution, tf32: within 2e-3 of the double reference on operands of all bits") {
  const auto normal = [](Random& r) { return static_cast<double>(r.normal()); };
  ConvolutionCase c{.in = 64, .out = 64, .small = {1, 9, 9}, .large = {1, 9, 9}};
  CHECK(difference(run_case<Arithmetic::tf32>(c, {}, normal)) < 1e-3);
  c.op = Op::convolution_weight_gradient;
  CHECK(difference(run_case<Arithmetic::tf32>(c, {}, normal)) < 1e-3);
}
