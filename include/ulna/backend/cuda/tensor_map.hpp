// SPDX-License-Identifier: MIT
// Boxes of tensors, as Hopper's copy engine brings them to shared memory: one thread asks, addresses, edges and the
// arrival are the engine's business. What lies outside the tensor arrives as zeros.
//
// An Execution whose device has the engine also has
//   has_box_copies(execution)     whether it has
//   tensor_map(execution, boxes)  what the engine reads; throws Error where it refuses
// found by their argument: tensor_map.cuh on the device, an emulated engine in the tests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ulna::cuda {

/// What a program holds for the engine. Its meaning is the driver's.
struct alignas(128) TensorMap {
  std::byte opaque[128];
};

/// Boxes of a tensor of bf16 or float with four axes, the first dense. A box arrives as rows of 128 bytes, first axis
/// fastest, whose 16-byte chunks have traded places: the 128-byte swizzle of matrix descriptors, and of SharedTile.
/// Floats arrive rounded to tf32.
struct TensorBoxes {
  const void* data = nullptr;
  std::array<std::uint64_t, 4> size{};    ///< elements along each axis
  std::array<std::uint64_t, 3> stride{};  ///< bytes along each axis but the first
  std::array<std::uint32_t, 4> box{};     ///< elements along each axis
  int element = 2;                        ///< bytes of one

  static constexpr int row_bytes = 128;

  constexpr int bytes() const { return static_cast<int>(box[0] * box[1] * box[2] * box[3]) * element; }

  /// Whether the engine takes it (CUDA driver API, cuTensorMapEncodeTiled).
  constexpr bool valid(std::uintptr_t address) const {
    bool fits = address % 16 == 0 && static_cast<int>(box[0]) * element == row_bytes;
    for (const std::uint64_t s : size) fits = fits && s >= 1 && s <= std::uint64_t{1} << 32;
    for (const std::uint64_t s : stride) fits = fits && s % 16 == 0 && s < std::uint64_t{1} << 40;
    for (const std::uint32_t b : box) fits = fits && b >= 1 && b <= 256;
    return fits;
  }
};

}  // namespace ulna::cuda
