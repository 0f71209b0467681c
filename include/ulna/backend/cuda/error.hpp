// SPDX-License-Identifier: MIT
// What can go wrong with a device, in words. No CUDA header is needed to include this.
#pragma once

#include <cstdint>
#include <string>

#include "ulna/error.hpp"

namespace ulna::cuda {

/// No device, a driver that is too old, too little device memory, an architecture that was not compiled in, or a kernel
/// that failed. Nothing ever falls back to the CPU by itself.
class Error : public ulna::Error {
 public:
  using ulna::Error::Error;
};

namespace detail {

/// 1073741824 -> "1024.0 MiB".
inline std::string mebibytes(std::int64_t bytes) {
  const std::int64_t tenths = (bytes * 10 + (std::int64_t{1} << 19)) >> 20;
  return std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) + " MiB";
}

/// 12080 -> "12.8": versions as the runtime counts them.
inline std::string version_text(int version) {
  return std::to_string(version / 1000) + '.' + std::to_string(version % 1000 / 10);
}

/// Bytes that an object needs on a device: some once, some for every sample of its largest batch.
struct MemoryNeed {
  std::int64_t fixed = 0;
  std::int64_t per_sample = 0;

  constexpr std::int64_t bytes(int batch) const { return fixed + per_sample * batch; }
  /// The largest batch that fits, 0 when not even one sample does.
  constexpr int batch_within(std::int64_t available) const {
    if (bytes(1) > available) return 0;
    return per_sample > 0 ? static_cast<int>((available - fixed) / per_sample) : 1;
  }
};

/// Throws Error when the need for a batch exceeds what is free.
inline void require_memory(const MemoryNeed& need, int batch, std::int64_t available, const std::string& device) {
  if (need.bytes(batch) <= available) return;
  const int fits = need.batch_within(available);
  throw Error(device + ": a batch of " + std::to_string(batch) + " needs " + mebibytes(need.bytes(batch)) +
              " of device memory, " + mebibytes(available) + " are free; " +
              (fits > 0 ? "a batch of " + std::to_string(fits) + " would fit"
                        : "not even a batch of 1 fits (" + mebibytes(need.bytes(1)) + "): use a smaller image"));
}

}  // namespace detail
}  // namespace ulna::cuda
