// SPDX-License-Identifier: MIT
// A second translation unit, so that a function which is not inline breaks the link.
#include <string>
#include <ulna/cuda.hpp>

std::string second() {
  try {
    const ulna::cuda::Device<float> device;
    return device.platform().name();
  } catch (const ulna::cuda::Error& error) {
    return error.what();
  }
}
