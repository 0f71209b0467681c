// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace ulna {

namespace detail {

/// Pages of this size cost the first touch of large memory a fifth of what small ones cost, and later fewer misses in
/// the translation of addresses.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Zeroed memory of its own mapping, aligned to huge pages and made of them where the system agrees. What is left over
/// at the end comes in small pages: nothing is held that was not asked for.
inline std::shared_ptr<void> map_zeroed(std::size_t bytes) {
  const std::size_t room = bytes + huge_page;
  void* const base = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  const std::shared_ptr<void> owner(base, [room](void* block) { ::munmap(block, room); });
  void* place = base;
  std::size_t left = room;
  std::align(huge_page, bytes, place, left);
#ifdef MADV_HUGEPAGE
  (void)::madvise(place, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
  return {owner, place};
}

}  // namespace detail

/// Zeroed memory, aligned to 64 bytes, allocated once. Large buffers come as pages that the system zeroes when they are
/// first touched: what is never used costs nothing.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>, "Buffer: elements are plain numbers, whose zero is all bits 0");

 public:
  Buffer() = default;
  explicit Buffer(std::size_t count) : count_(count) {
    if (count == 0) return;
    if (count > (SIZE_MAX - detail::huge_page) / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = count * sizeof(T);
    block_ = bytes < least_mapped ? allocate(bytes) : detail::map_zeroed(bytes);
    data_ = static_cast<T*>(block_.get());
  }
  /// Memory of `owner`, which lives as long as the buffer: a mapped file, say. Neither zeroed nor aligned further.
  Buffer(std::shared_ptr<void> owner, std::span<T> elements)
      : block_(std::move(owner)), data_(elements.data()), count_(elements.size()) {}
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
  static constexpr std::size_t least_mapped = 2 * detail::huge_page;

  static std::shared_ptr<void> allocate(std::size_t bytes) {
    std::size_t room = bytes + alignment;
    void* place = std::calloc(room, 1);
    if (place == nullptr) throw std::bad_alloc();
    const std::shared_ptr<void> owner(place, [](void* block) { std::free(block); });
    std::align(alignment, bytes, place, room);
    return {owner, place};
  }

  void swap(Buffer& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }

  std::shared_ptr<void> block_;
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace ulna
