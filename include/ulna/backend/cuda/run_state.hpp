// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace ulna::cuda {

/// What changes from run to run. Kernels read it from device memory, so that a captured graph can be replayed.
struct RunState {
  std::uint64_t seed = 0;  ///< of dropout
  std::uint64_t step = 0;  ///< of dropout
};

}  // namespace ulna::cuda
