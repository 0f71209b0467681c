// SPDX-License-Identifier: MIT
// Whole programs of bf16 on the device.
#include "device_programs.cuh"

namespace ulna::testing {

template Trace trace_of<bf16, cuda::arithmetic::Tf32>(bool);
template std::vector<std::uint64_t> hashes<cuda::Device<bf16>>(int, bool, bool);
template std::array<Profile, 2> profiles<cuda::Device<bf16>>();

}  // namespace ulna::testing
