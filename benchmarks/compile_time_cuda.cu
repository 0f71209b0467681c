// SPDX-License-Identifier: MIT
// What compile_time.sh measures: one file that trains and infers on a device.
#include <ulna/cuda.hpp>

#include "compile_time.hpp"

int main() { return train_and_infer<ulna::cuda::Device<float>>(); }
