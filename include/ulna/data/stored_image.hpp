// SPDX-License-Identifier: MIT
// What the readers of the single file formats share: an image as it lies in the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ulna/error.hpp"

namespace ulna::detail {

/// The pixels of a file as stored: no scaling, alpha dropped, channels innermost.
struct StoredImage {
  int height = 0, width = 0;
  int channels = 0;  ///< 1 or 3
  int bits = 0;      ///< 8 or 16 (1, 2 and 4 bit count as 8)
  std::vector<std::uint16_t> values;
};

/// Pixels to be written; not owned. 8 bit: one byte a value; 16 bit: two, in the byte order of the machine.
struct PixelView {
  const void* data = nullptr;
  int height = 0, width = 0, channels = 0, bits = 0;

  std::size_t row_bytes() const {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(channels * bits / 8);
  }
  const unsigned char* row(int index) const {
    return static_cast<const unsigned char*>(data) + static_cast<std::size_t>(index) * row_bytes();
  }
};

/// How the file formats are to be decoded.
struct DecodeOptions {
  /// Class indices are wanted, not intensities: palette indices stay indices, and 1, 2, 4 bit are not stretched to 255.
  bool raw_indices = false;
  std::uint64_t max_pixels = 0;
};

[[noreturn]] inline void throw_file(const std::filesystem::path& path, const std::string& what) {
  throw FileError("'" + path.string() + "' " + what);
}

/// Refuses extents that no allocation should follow.
inline void require_sane_size(const std::filesystem::path& path, std::uint64_t height, std::uint64_t width,
                              const DecodeOptions& options) {
  const std::uint64_t largest_side = 1u << 30;
  if (height > 0 && width > 0 && height <= largest_side && width <= largest_side &&
      height * width <= options.max_pixels) {
    return;
  }
  throw_file(path, "declares " + std::to_string(height) + " x " + std::to_string(width) +
                       " pixels; at least 1 and at most " + std::to_string(options.max_pixels) +
                       " pixels are read (max_pixels)");
}

}  // namespace ulna::detail
