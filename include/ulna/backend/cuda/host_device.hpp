// SPDX-License-Identifier: MIT
// Code that runs on the device and, in the tests, on the host. No CUDA header is needed to include this.
#pragma once

/// Marks a function that both sides call. It changes no type, layout or meaning: elsewhere it is nothing.
#ifdef __CUDACC__
#define ULNA_HOST_DEVICE __host__ __device__
#else
#define ULNA_HOST_DEVICE
#endif
