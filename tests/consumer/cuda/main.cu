// SPDX-License-Identifier: MIT
// A program without a device must hear so, and only so.
#include <iostream>
#include <string>
#include <ulna/cuda.hpp>

std::string second();

int main() {
  try {
    const ulna::cuda::Device<float> device;
    std::cout << device.platform().name() << '\n';
  } catch (const ulna::cuda::Error& error) {
    std::cout << error.what() << '\n';
    if (std::string(error.what()).rfind("cuda::Device: ", 0) != 0 || second() != error.what()) return 1;
  }
  return 0;
}
