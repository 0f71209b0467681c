// SPDX-License-Identifier: MIT
// Whole programs of float on the device, and those of every precision by name.
#include "device_programs.cuh"

namespace ulna::testing {

using cuda::arithmetic::Exact;
using cuda::arithmetic::Tf32;

// device_programs_bf16.cu
extern template Trace trace_of<bf16, Tf32>(bool);
extern template std::vector<std::uint64_t> hashes<cuda::Device<bf16>>(int, bool, bool);
extern template std::array<Profile, 2> profiles<cuda::Device<bf16>>();

Trace trace_on_device(Precision precision, bool eager) {
  if (precision == Precision::bf16) return trace_of<bf16, Tf32>(eager);
  return precision == Precision::exact ? trace_of<float, Exact>(eager) : trace_of<float, Tf32>(eager);
}

std::vector<std::uint64_t> hashes_on_device(Precision precision, int count, bool unlike, bool together) {
  if (precision == Precision::bf16) return hashes<cuda::Device<bf16>>(count, unlike, together);
  return precision == Precision::exact ? hashes<cuda::Device<float, Exact>>(count, unlike, together)
                                       : hashes<cuda::Device<float, Tf32>>(count, unlike, together);
}

std::array<Profile, 2> profiles_on_device(Precision precision) {
  if (precision == Precision::bf16) return profiles<cuda::Device<bf16>>();
  return precision == Precision::exact ? profiles<cuda::Device<float, Exact>>() : profiles<cuda::Device<float, Tf32>>();
}

namespace {

std::string message(const auto& work) {
  try {
    work();
    return "";
  } catch (const cuda::Error& e) {
    return e.what();
  }
}

}  // namespace

std::array<std::string, 2> messages_about_versions() {
  return {message([] { cuda::detail::usable_devices(cudaErrorInsufficientDriver, 0, 11080); }),
          message([] { cuda::check(cudaErrorNoKernelImageForDevice, "device 0, NVIDIA X"); })};
}

std::array<std::string, 2> messages_about_memory() {
  // More than 1 TiB of images alone.
  const int batch = static_cast<int>((std::int64_t{1} << 38) / TracedNet::input_shape.size());
  Model<TracedNet> model;
  using Device = cuda::Device<float, Tf32>;
  return {message([&] {
            Predictor<TracedNet, Device>{model, batch};
          }),
          message([&] {
            Trainer<TracedNet, DiceCrossEntropy, Device, SGD>{model, {}, {.batch = batch}};
          })};
}

}  // namespace ulna::testing
