// SPDX-License-Identifier: MIT
// The 16-bit floating-point number of matrix units: the upper half of a float.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace ulna {

/// bfloat16: 8 exponent bits as float has, 8 significant bits instead of 24. A storage type: arithmetic is done in
/// float, into which every value converts exactly. Conversion to it is explicit and rounds to the nearest, ties to
/// even; what is too large becomes infinite, NaN stays NaN.
class bf16 {
 public:
  constexpr bf16() = default;
  template <class T>
  requires std::integral<T> || std::floating_point<T>
  explicit constexpr bf16(T x) : bits_(rounded(static_cast<float>(x))) {}

  static constexpr bf16 from_bits(std::uint16_t bits) {
    bf16 x{};
    x.bits_ = bits;
    return x;
  }
  constexpr std::uint16_t bits() const { return bits_; }
  constexpr operator float() const {  // NOLINT(google-explicit-constructor): exact
    return std::bit_cast<float>(std::uint32_t{bits_} << 16);
  }

 private:
  static constexpr std::uint16_t rounded(float x) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    const bool is_nan = (u & 0x7FFFFFFFu) > 0x7F800000u;
    // a NaN whose set bits are all in the lower half would become infinite
    const std::uint32_t r = is_nan ? u | 0x00400000u : u + 0x7FFFu + ((u >> 16) & 1u);
    return static_cast<std::uint16_t>(r >> 16);
  }

  std::uint16_t bits_;
};

static_assert(sizeof(bf16) == 2 && alignof(bf16) == 2);

}  // namespace ulna
