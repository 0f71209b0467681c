// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace ulna {

/// Zeroed memory, aligned to 64 bytes, allocated once. The pages of an arena are only touched when they are used.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t count)
      : data_(count == 0 ? nullptr : static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{64}))),
        count_(count) {
    for (std::size_t i = 0; i < count; ++i) data_.get()[i] = T{};
  }

  T* data() const { return data_.get(); }
  std::size_t size() const { return count_; }
  std::span<T> span() const { return {data_.get(), count_}; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t count_ = 0;
};

}  // namespace ulna
