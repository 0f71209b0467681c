// SPDX-License-Identifier: MIT
// For golden_*.cu.
#pragma once

#include "../golden/networks.hpp"
#include "golden_run.hpp"
#include "ulna/cuda.hpp"

namespace ulna::testing {

template <class P, class Loss>
GoldenRun golden_on_device(Precision precision, const GoldenInput& in) {
  if (precision == Precision::bf16) return golden_run<P, Loss, cuda::Device<bf16>>(in);
  if (precision == Precision::tf32) return golden_run<P, Loss, cuda::Device<float, cuda::arithmetic::Tf32>>(in);
  return golden_run<P, Loss, cuda::Device<float, cuda::arithmetic::Exact>>(in);
}

}  // namespace ulna::testing
