// SPDX-License-Identifier: MIT
// One network, mode and precision, which the build names: -DNETWORK=unet -DMODE=Inference -DPRECISION=fp32. As C++ it
// runs on the CPU, as CUDA on a device.
#include "networks.hpp"
#include "worker.hpp"
#ifdef __CUDACC__
#include <ulna/cuda.hpp>
#else
#include <ulna/backend/tbb/tbb.hpp>
#endif

namespace precision {
#ifdef __CUDACC__
using fp32 = ulna::cuda::Device<float, ulna::cuda::arithmetic::Exact>;
using tf32 = ulna::cuda::Device<float, ulna::cuda::arithmetic::Tf32>;
using bf16 = ulna::cuda::Device<ulna::bf16>;
#else
using fp32 = ulna::cpu::Tbb<float>;
using bf16 = ulna::cpu::Tbb<ulna::bf16>;
#endif
}  // namespace precision

int main(int argc, char** argv) {
  return networks::run<networks::MODE, networks::NETWORK, precision::PRECISION>(argc, argv);
}
