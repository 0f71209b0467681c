// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

#include "ulna/backend/tensor.hpp"

namespace ulna {

/// Hands out parts of a kernel's scratch. Over nullptr it only counts, so one constructor both sizes and places
/// buffers.
class Workspace {
 public:
  explicit Workspace(std::byte* base) : base_(base) {}

  template <class U>
  U* take(std::ptrdiff_t count) {
    std::byte* at = base_ ? base_ + bytes_ : nullptr;
    bytes_ += (static_cast<std::size_t>(count) * sizeof(U) + 63) / 64 * 64;
    return reinterpret_cast<U*>(at);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t bytes_ = 0;
};

/// Bytes that a kernel's buffers need; `Buffers{call, workspace}` takes them.
template <class Buffers, class T>
std::size_t bytes_for(const Call<T>& call) {
  Workspace counting(nullptr);
  Buffers(call, counting);
  return counting.bytes();
}

template <class Buffers, class T>
Buffers buffers_of(const Call<T>& call) {
  Workspace workspace(call.scratch.data());
  return Buffers(call, workspace);
}

}  // namespace ulna
