// SPDX-License-Identifier: MIT
// A tensor of a safetensors file: name, element type, shape and bytes, and the conversion of its elements.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ulna/bf16.hpp"
#include "ulna/error.hpp"

namespace ulna::safetensors {

static_assert(std::endian::native == std::endian::little, "safetensors stores little-endian numbers");

/// Element types of the format.
enum class DType : std::uint8_t { Bool, U8, I8, F8E5M2, F8E4M3, I16, U16, F16, BF16, I32, U32, F32, I64, U64, F64 };

namespace detail {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
inline constexpr std::array<DTypeRow, 15> dtype_rows{{
    {DType::Bool, "BOOL", 1},
    {DType::U8, "U8", 1},
    {DType::I8, "I8", 1},
    {DType::F8E5M2, "F8_E5M2", 1},
    {DType::F8E4M3, "F8_E4M3", 1},
    {DType::I16, "I16", 2},
    {DType::U16, "U16", 2},
    {DType::F16, "F16", 2},
    {DType::BF16, "BF16", 2},
    {DType::I32, "I32", 4},
    {DType::U32, "U32", 4},
    {DType::F32, "F32", 4},
    {DType::I64, "I64", 8},
    {DType::U64, "U64", 8},
    {DType::F64, "F64", 8},
}};

/// IEEE 754 binary16 to binary32, exactly, subnormals, infinities and NaN included.
constexpr float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t magnitude = std::uint32_t{bits & 0x7FFFu} << 13;
  if (magnitude >= 0x0F800000u) return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x007FFFFFu));
  // Placed in the fields of a float the number is too small by the difference of the exponent biases, 127 - 15.
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f));
}

constexpr float from_bf16(std::uint16_t bits) { return bf16::from_bits(bits); }

}  // namespace detail

/// The name of the type in a file: "F32", "BF16", ...
constexpr std::string_view dtype_name(DType dtype) { return detail::dtype_rows[static_cast<std::size_t>(dtype)].name; }

/// Bytes per element.
constexpr std::size_t dtype_size(DType dtype) { return detail::dtype_rows[static_cast<std::size_t>(dtype)].size; }

/// The safetensors type of a C++ type, for writing.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::same_as<T, float>) return DType::F32;
  if constexpr (std::same_as<T, double>) return DType::F64;
  if constexpr (std::same_as<T, bool>) return DType::Bool;
  if constexpr (std::same_as<T, std::uint8_t>) return DType::U8;
  if constexpr (std::same_as<T, std::int8_t>) return DType::I8;
  if constexpr (std::same_as<T, std::uint16_t>) return DType::U16;
  if constexpr (std::same_as<T, std::int16_t>) return DType::I16;
  if constexpr (std::same_as<T, std::uint32_t>) return DType::U32;
  if constexpr (std::same_as<T, std::int32_t>) return DType::I32;
  if constexpr (std::same_as<T, std::uint64_t>) return DType::U64;
  if constexpr (std::same_as<T, std::int64_t>) return DType::I64;
}

/// The elements of a tensor as T: those of the file where they are of that type and aligned, converted ones otherwise.
template <class T>
struct Elements {
  std::vector<T> converted;
  std::span<const T> in_file;

  std::span<const T> span() const { return converted.empty() ? in_file : std::span<const T>(converted); }
};

/// A tensor seen in a file, or to be written; the bytes belong to somebody else.
struct Tensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::uint64_t> shape;  ///< outermost first, row-major; empty for a scalar
  std::span<const std::byte> bytes;  ///< little-endian, possibly unaligned

  std::size_t element_count() const { return bytes.size() / dtype_size(dtype); }

  /// "F32 [64, 1, 3, 3]", for messages.
  std::string description() const {
    std::string text(dtype_name(dtype));
    text += " [";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
  }

  /// Converts the elements into `out`: F16, BF16, F32 and F64 to float or double (rounding to nearest), and any type to
  /// its own C++ type. Throws WeightsError when the type does not convert or `out` is not of element_count() elements.
  template <class T>
  void copy_to(std::span<T> out) const {
    if (out.size() != element_count()) {
      throw WeightsError("tensor " + name + " is " + description() + ", " + std::to_string(element_count()) +
                         " elements; room for " + std::to_string(out.size()) + " was given");
    }
    if (dtype == dtype_of<T>()) return convert<T>(out, [](T value) { return value; });
    if constexpr (std::floating_point<T>) {
      const auto cast = [](auto value) { return static_cast<T>(value); };
      if (dtype == DType::F32) return convert<float>(out, cast);
      if (dtype == DType::F64) return convert<double>(out, cast);
      if (dtype == DType::F16)
        return convert<std::uint16_t>(out, [&](auto bits) { return cast(detail::from_f16(bits)); });
      if (dtype == DType::BF16)
        return convert<std::uint16_t>(out, [&](auto bits) { return cast(detail::from_bf16(bits)); });
    }
    throw WeightsError("tensor " + name + " is " + description() + "; its elements do not convert to " +
                       std::string(dtype_name(dtype_of<T>())));
  }

  /// The elements as a new vector; see copy_to.
  template <class T>
  std::vector<T> to_vector() const {
    std::vector<T> out(element_count());
    copy_to(std::span<T>(out));
    return out;
  }

  /// The elements without a copy where the file allows it; the file must outlive them. Throws as copy_to does.
  template <class T>
  Elements<T> elements() const {
    const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) == 0;
    if (dtype == dtype_of<T>() && aligned) return {{}, {reinterpret_cast<const T*>(bytes.data()), element_count()}};
    return {to_vector<T>(), {}};
  }

 private:
  /// Byte-wise, since nothing in the format aligns the data.
  template <class Stored, class T, class Convert>
  void convert(std::span<T> out, Convert&& convert) const {
    for (std::size_t i = 0; i < out.size(); ++i) {
      Stored value;
      std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
      out[i] = convert(value);
    }
  }
};

}  // namespace ulna::safetensors
