// SPDX-License-Identifier: MIT
// How the backend's ops state their work, and the host's way of doing it.
//
// An op is written once, as a function template over an Execution that it hands bodies to:
//
//   each(name, count, body)                       body(i) for every i of [0, count), in any order
//   blocks(name, count, threads, shared, body)    `count` blocks of `threads` threads; every thread of a block runs
//                                                 body(phase, position, state) for each of body.phases() phases, and a
//                                                 phase begins when the block's threads have finished the one before
//
// Bodies are plain structs with a __host__ __device__ call operator. DeviceExecution (launch.cuh) makes a kernel of
// each; HostExecution loops. What a test proves of a body, its schedule and its index arithmetic on the host holds on
// the device, but for rounding in the device's mathematical functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ulna/backend/cuda/host_device.hpp"
#include "ulna/backend/cuda/run_state.hpp"

namespace ulna::cuda {

/// Where a thread of a block stands.
struct Position {
  std::int64_t block = 0;
  int thread = 0;
  std::byte* shared = nullptr;  ///< the block's memory, not initialised, aligned to 16 bytes

  /// The block's memory from `byte_offset` on.
  template <class U>
  constexpr U* shared_as(std::size_t byte_offset = 0) const {
    return reinterpret_cast<U*>(shared + byte_offset);
  }
};

/// For bodies that keep nothing from phase to phase.
struct NoState {};

/// One after another on the host. `backwards` visits blocks and threads in falling order: a body whose result then
/// differs has a race.
struct HostExecution {
  const RunState* run = nullptr;
  const std::byte* packed = nullptr;  ///< as DeviceExecution has it
  bool backwards = false;

  template <class Body>
  void each(const char* /*name*/, std::int64_t count, const Body& body) const {
    for (std::int64_t i = 0; i < count; ++i) body(backwards ? count - 1 - i : i);
  }

  template <class Body>
  void blocks(const char* /*name*/, std::int64_t count, int threads, std::size_t shared_bytes, const Body& body) const {
    struct alignas(16) Unit {
      std::byte bytes[16];
    };
    std::vector<Unit> shared((shared_bytes + 15) / 16);
    std::vector<typename Body::State> states(static_cast<std::size_t>(threads));
    for (std::int64_t b = 0; b < count; ++b) {
      for (Unit& unit : shared)
        for (std::byte& byte : unit.bytes) byte = std::byte{0xFF};  // NaNs: reading what nobody wrote shows
      for (auto& state : states) state = {};
      for (int phase = 0; phase < body.phases(); ++phase)
        for (int t = 0; t < threads; ++t) {
          const int thread = backwards ? threads - 1 - t : t;
          const Position at{backwards ? count - 1 - b : b, thread, shared.empty() ? nullptr : shared.front().bytes};
          body(phase, at, states[static_cast<std::size_t>(thread)]);
        }
    }
  }
};

}  // namespace ulna::cuda
