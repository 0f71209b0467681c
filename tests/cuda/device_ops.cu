// SPDX-License-Identifier: MIT
// Single nodes of float on the device.
#include "device_ops.cuh"

namespace ulna::testing {

using cuda::arithmetic::Exact;
using cuda::arithmetic::Tf32;
using cuda::arithmetic::Winograd;

std::string why_no_device(int index) {
  try {
    const cuda::Device<float> device{index};
    return "";
  } catch (const cuda::Error& e) {
    return e.what();
  }
}

void run_on_device(Op op, Precision precision, const Call<float>& call, const Activations& activations) {
  precision == Precision::exact      ? run_node<float, Exact>(op, call, activations)
  : precision == Precision::winograd ? run_node<float, Winograd>(op, call, activations)
                                     : run_node<float, Tf32>(op, call, activations);
}

std::size_t device_scratch_bytes(Op op, Precision precision, const Call<float>& call) {
  return precision == Precision::exact      ? scratch_bytes<float, Exact>(op, call)
         : precision == Precision::winograd ? scratch_bytes<float, Winograd>(op, call)
                                            : scratch_bytes<float, Tf32>(op, call);
}

}  // namespace ulna::testing
