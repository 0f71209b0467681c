// SPDX-License-Identifier: MIT
// Loaded before a process of benchmarks/run.sh, it counts that process's allocations.
#include "../../tests/allocation/count_allocations.hpp"

extern "C" long ulna_allocations() { return ulna::testing::allocations; }
