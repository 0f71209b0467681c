// SPDX-License-Identifier: MIT
// A golden file on the CUDA backend with the host in a device's place, in every precision.
#include "../../cuda/golden_checks.hpp"
#include "../../golden/names.hpp"
#include "../../golden/networks.hpp"
#include "block_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/backend/cuda/training_run.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

template <class T, class A>
using Emulated = cuda::BasicDevice<T, A, cuda::HostPlatform<cuda::EmulatedExecution>>;

template <class P, class Loss>
GoldenRun run(Precision precision, const GoldenInput& in) {
  using cuda::arithmetic::Exact;
  using cuda::arithmetic::Tf32;
  if (precision == Precision::bf16) return golden_run<P, Loss, Emulated<bf16, Tf32>>(in);
  if (precision == Precision::tf32) return golden_run<P, Loss, Emulated<float, Tf32>>(in);
  return golden_run<P, Loss, Emulated<float, Exact>>(in);
}

}  // namespace

TEST_CASE("a U-Net on a device computes what its golden file says") {
  check_golden<golden::OddUNet>("unet_bn_transpose_odd.safetensors", golden::unet_names(2),
                                run<golden::OddUNet, CrossEntropy>);
}
