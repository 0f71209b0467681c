// SPDX-License-Identifier: MIT
// Working memory of kernels, for batches up to a largest one.
#include "block_emulator.hpp"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/model/unet.hpp"
#include "ulna/program.hpp"

using namespace ulna;

TEST_CASE("scratch serves every batch up to the largest, though a smaller one may need more") {
  using Device = cuda::BasicDevice<float, cuda::arithmetic::Tf32, cuda::HostPlatform<cuda::EmulatedExecution>>;
  using Net = InferenceProgram<Program<UNet<Classes<2>, Width<64>>, Image<1, 512, 512>>>;
  using Graph = cuda::DeviceGraph<Net, Device>;
  Binding<Net, Device> calls;
  CHECK(calls.scratch_bytes(3, 1) > calls.scratch_bytes(16, 1));  // sums of few pixels are split
  const std::size_t taken = Graph::scratch_bytes(16);
  for (int batch = 1; batch <= 16; ++batch) CHECK(taken >= calls.scratch_bytes(batch, 1));
  CHECK(Graph::scratch_bytes(1) == calls.scratch_bytes(1, 1));
}
