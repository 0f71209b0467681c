// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace ulna {

/// Zeroed memory, aligned to 64 bytes, allocated once. Large buffers come as pages that the system zeroes when they are
/// first touched: what is never used costs nothing.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>, "Buffer: elements are plain numbers, whose zero is all bits 0");

 public:
  Buffer() = default;
  explicit Buffer(std::size_t count) : count_(count) {
    if (count == 0) return;
    if (count > (SIZE_MAX - alignment) / sizeof(T)) throw std::bad_array_new_length();
    block_.reset(std::calloc(count * sizeof(T) + alignment, 1));
    if (!block_) throw std::bad_alloc();
    void* place = block_.get();
    std::size_t room = count * sizeof(T) + alignment;
    data_ = static_cast<T*>(std::align(alignment, count * sizeof(T), place, room));
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken{std::move(other)};
    swap(taken);
    return *this;
  }

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::span<T> span() const { return {data_, count_}; }

 private:
  static constexpr std::size_t alignment = 64;
  struct Free {
    void operator()(void* block) const { std::free(block); }
  };

  void swap(Buffer& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }

  std::unique_ptr<void, Free> block_;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace ulna
