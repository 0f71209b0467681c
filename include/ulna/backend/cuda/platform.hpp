// SPDX-License-Identifier: MIT
// What devices are to the rest of the backend: memory, copies and work, in the order they are enqueued. The host can
// stand in for one, so that everything above is tested without a device.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "ulna/backend/cuda/execution.hpp"
#include "ulna/runtime/buffer.hpp"

namespace ulna::cuda {

/// A platform:
///   Platform(index)                    opens device `index`; throws Error when there is none that serves
///   Execution                          how ops are done (execution.hpp)
///   Memory<U>, Staging<U>              zeroed memory of the device; memory of the host that the device copies fast
///   Recording                          work that can be replayed
///   name(), free_bytes()               for messages, and before memory is taken
///   multiprocessors()                  how many blocks run side by side, at least
///   memory<U>(n), staging<U>(n)        takes memory; throws Error when there is too little
///   copy(to, from, bytes)              enqueued: between memory of the device, staging, and (slowly) any of the host
///   copy_rows(to, from, row, rows, pitch)   the same for rows of `row` bytes that lie `pitch` apart in `from`
///   execution(run_state)               enqueues ops; they read `run_state` in device memory when they run
///   record(work)                       what work() enqueues, without doing it
///   replay(recording)                  enqueues it
///   run(work)                          what work() enqueues, at once
///   Mark, mark(m)                      enqueues the noting of the time when everything before it is done
///   seconds(from, to)                  between two marks; wait() first
///   delay(seconds)                     enqueues doing nothing, so that what follows is all there when it begins
///   wait()                             until everything enqueued is done; throws Error when something failed
///
/// The host in place of a device: "device" memory is the host's, work is done at once.
template <class E = HostExecution>
class HostPlatform {
 public:
  using Execution = E;
  template <class U>
  using Memory = Buffer<U>;
  template <class U>
  using Staging = Buffer<U>;
  using Recording = std::function<void()>;
  using Mark = std::chrono::steady_clock::time_point;

  explicit HostPlatform(int /*index*/) {}

  std::string name() const { return "the host"; }
  std::int64_t free_bytes() const { return std::numeric_limits<std::int64_t>::max(); }
  int multiprocessors() const { return 1; }

  template <class U>
  Memory<U> memory(std::size_t count) const {
    return Memory<U>(count);
  }
  template <class U>
  Staging<U> staging(std::size_t count) const {
    return Staging<U>(count);
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void copy_rows(void* to, const void* from, std::size_t row, std::size_t rows, std::size_t pitch) const {
    for (std::size_t r = 0; r < rows; ++r)
      copy(static_cast<std::byte*>(to) + r * row, static_cast<const std::byte*>(from) + r * pitch, row);
  }

  Execution execution(const RunState* run) const {
    Execution on{};
    on.run = run;
    return on;
  }
  Recording record(std::function<void()> work) const { return work; }
  void replay(const Recording& recording) const { recording(); }
  void run(const auto& work) const { work(); }
  void mark(Mark& m) const { m = std::chrono::steady_clock::now(); }
  double seconds(const Mark& from, const Mark& to) const { return std::chrono::duration<double>(to - from).count(); }
  void delay(double /*seconds*/) const {}
  void wait() const {}
};

}  // namespace ulna::cuda
