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

/// Throws Error when the `bytes_of(batch)` that a batch needs exceed what is free; the message names the largest batch
/// that would fit.
inline void require_memory(auto bytes_of, int batch, std::int64_t available, const std::string& device) {
  const std::int64_t needed = bytes_of(batch);
  if (needed <= available) return;
  int fits = 0;
  for (int too_many = batch; too_many - fits > 1;) {
    const int middle = fits + (too_many - fits) / 2;
    (bytes_of(middle) <= available ? fits : too_many) = middle;
  }
  throw Error(device + ": a batch of " + std::to_string(batch) + " needs " + mebibytes(needed) + " of device memory, " +
              mebibytes(available) + " are free; " +
              (fits > 0 ? "a batch of " + std::to_string(fits) + " would fit"
                        : "a batch of 1 needs " + mebibytes(bytes_of(1)) + ": use a smaller image or network"));
}

}  // namespace detail
}  // namespace ulna::cuda
