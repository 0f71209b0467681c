// SPDX-License-Identifier: MIT
// `train` on an NVIDIA device: only the backend differs. Networks of each class count are compiled in a file of their
// own, side by side, since nvcc takes its time.
#pragma once

#include <ulna/cuda.hpp>

#include "../training.hpp"

namespace example {

struct OnDevice {
  using Backend = ulna::cuda::Device<float>;
  using TilingBackend = Backend;
};

}  // namespace example
