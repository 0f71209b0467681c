// SPDX-License-Identifier: MIT
// The convolution family of the CUDA backend in float, its blocks emulated on the host.
#include "convolution_checks.hpp"

using namespace ulna;
using namespace ulna::cuda;

TEST_CASE("cuda convolution, exact: random windows, channels, slices and batches") {
  Random r(Seed{31});
  for (int i = 0; i < 40; ++i) {
    const Op op = i % 2 == 0 ? Op::convolution : Op::transposed_convolution;
    check_case<Arithmetic::exact>(random_case(r, op, 4), {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
  }
}

TEST_CASE("cuda weight gradient, exact: random windows, channels, slices and batches") {
  Random r(Seed{32});
  for (int i = 0; i < 30; ++i)
    check_case<Arithmetic::exact>(random_case(r, Op::convolution_weight_gradient, 4),
                                  {.late_copies = i % 3 != 0, .backwards = i % 4 == 1});
}
