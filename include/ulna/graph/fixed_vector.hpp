// SPDX-License-Identifier: MIT
// A vector of fixed capacity for constexpr code. std::vector is not usable there on every compiler we support, and
// copying heap-backed vectors exhausts the compilers' limits on constexpr operations.
#pragma once

#include <cstddef>

namespace ulna {

/// At most `Capacity` values of a default-constructible type; usable in constant expressions.
/// Exceeding the capacity ends constant evaluation, so the compiler points at the push that did it.
template <class T, int Capacity>
struct FixedVector {
  T values[static_cast<std::size_t>(Capacity > 0 ? Capacity : 1)]{};  // there are no arrays of nothing
  int count = 0;

  static constexpr int capacity = Capacity;

  constexpr int size() const { return count; }
  constexpr bool empty() const { return count == 0; }
  constexpr T& operator[](int i) { return values[i]; }
  constexpr const T& operator[](int i) const { return values[i]; }
  constexpr T& push_back(const T& value) {
    values[count] = value;
    return values[count++];
  }
  constexpr const T& back() const { return values[count - 1]; }
  constexpr void pop_back() { --count; }
  constexpr T* begin() { return values; }
  constexpr T* end() { return values + count; }
  constexpr const T* begin() const { return values; }
  constexpr const T* end() const { return values + count; }
};

}  // namespace ulna
