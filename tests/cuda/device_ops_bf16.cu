// SPDX-License-Identifier: MIT
// Single nodes of bf16 on the device.
#include "device_ops.cuh"

namespace ulna::testing {

void run_on_device(Op op, Precision, const Call<bf16>& call, const Activations& activations) {
  run_node<bf16, cuda::arithmetic::Tf32>(op, call, activations);
}

std::size_t device_scratch_bytes(Op op, Precision, const Call<bf16>& call) {
  return scratch_bytes<bf16, cuda::arithmetic::Tf32>(op, call);
}

}  // namespace ulna::testing
