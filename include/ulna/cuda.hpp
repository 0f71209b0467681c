// SPDX-License-Identifier: MIT
// The CUDA backend: programs on NVIDIA devices. For translation units that nvcc compiles (component ulna::cuda).
//
//   ulna::Predictor<Program, ulna::cuda::Device<float>> predictor{model};
//   ulna::Trainer<Program, ulna::DiceCrossEntropy, ulna::cuda::Device<float>> trainer{model};
#pragma once

#ifndef __CUDACC__
#error "ulna/cuda.hpp holds kernels: compile this file with nvcc (name it .cu, or set its LANGUAGE property to CUDA)"
#endif

#include "ulna/backend/cuda/device.hpp"
#include "ulna/backend/cuda/device_platform.cuh"
#include "ulna/backend/cuda/executor.hpp"
#include "ulna/backend/cuda/training_run.hpp"

namespace ulna::cuda {

/// Runs programs on an NVIDIA device of compute capability 8.0 or more: `Device<float>{1}` is the second one. T is the
/// type of activations, float or bf16; parameters are float. `A` says how products of float are computed.
/// A run is captured as a CUDA graph at its first time for each batch, and replayed afterwards. Results are the same
/// bits run after run.
template <class T, class A = arithmetic::Tf32>
using Device = BasicDevice<T, A, DevicePlatform>;

}  // namespace ulna::cuda
