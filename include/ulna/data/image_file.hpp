// SPDX-License-Identifier: MIT
// Image files. Needs libpng and libtiff: link the optional component ulna::image.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/data/png_file.hpp"
#include "ulna/data/stored_image.hpp"
#include "ulna/data/tiff_file.hpp"

namespace ulna {

/// How read_image reads.
struct ImageReadOptions {
  /// One channel whatever is stored; colour becomes luminance, (299 R + 587 G + 114 B) / 1000 (ITU-R BT.601),
  /// unrounded.
  bool grey = false;
  /// Bits per channel the file must have: 8, 16, or 0 for either. A file of 1, 2 or 4 bits counts as 8.
  int bits = 0;
  /// A file that declares more pixels is refused before memory is allocated for it.
  std::uint64_t max_pixels = std::uint64_t{1} << 28;
};

namespace detail {

inline std::vector<unsigned char> read_bytes(const std::filesystem::path& path, std::size_t most) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw_file(path, "does not exist; a PNG or TIFF file was expected");
  if (!std::filesystem::is_regular_file(status)) throw_file(path, "is not a file; a PNG or TIFF file was expected");
  std::ifstream stream(path, std::ios::binary);
  const auto size = std::filesystem::file_size(path, error);
  if (!stream || error) throw_file(path, "cannot be opened for reading");
  std::vector<unsigned char> bytes(static_cast<std::size_t>(std::min<std::uintmax_t>(size, most)));
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (static_cast<std::size_t>(stream.gcount()) != bytes.size()) throw_file(path, "cannot be read to its end");
  return bytes;
}

/// The format is told by the first bytes, not by the name.
inline StoredImage decode_image(const std::filesystem::path& path, const DecodeOptions& options) {
  using namespace std::string_view_literals;
  const auto head_bytes = read_bytes(path, 8);
  const std::string_view head(reinterpret_cast<const char*>(head_bytes.data()), head_bytes.size());
  if (head == "\x89PNG\r\n\x1a\n"sv) return decode_png(path, read_bytes(path, SIZE_MAX), options);
  for (const auto magic : {"II*\0"sv, "MM\0*"sv, "II+\0"sv, "MM\0+"sv}) {
    if (head.starts_with(magic)) return decode_tiff(path, options);
  }
  if (head.empty()) throw_file(path, "is empty; a PNG or TIFF file was expected");
  const bool jpeg = head.starts_with("\xff\xd8"sv);
  throw_file(
      path, jpeg ? "is a JPEG file; convert it to PNG or TIFF" : "is neither a PNG nor a TIFF file; convert it to one");
}

inline void require_bits(const std::filesystem::path& path, const StoredImage& image, int bits) {
  if (bits == 0 || image.bits == bits) return;
  throw_file(path, "has " + std::to_string(image.bits) + " bits per channel where " + std::to_string(bits) +
                       " were expected; convert the file, or expect " + std::to_string(image.bits));
}

}  // namespace detail

/// Reads a PNG (grey, RGB, palette, with or without alpha; 1 to 16 bits) or the first page of a TIFF (grey or RGB; 8 or
/// 16 bits; strips or tiles) into an array of shape (height, width, 1 or 3).
/// Values are as stored, 0..255 or 0..65535 (1, 2 and 4 bits are stretched to 0..255); alpha is dropped.
/// Throws FileError, naming the file, when it is missing, truncated, no image, of a kind that is not read, or not of
/// the expected bit depth. Nothing is printed.
inline ImageArray read_image(const std::filesystem::path& path, const ImageReadOptions& options = {}) {
  if (options.bits != 0 && options.bits != 8 && options.bits != 16) {
    throw ArgumentError("ImageReadOptions::bits is " + std::to_string(options.bits) + "; it must be 0 (any), 8 or 16");
  }
  const auto stored = detail::decode_image(path, {.raw_indices = false, .max_pixels = options.max_pixels});
  detail::require_bits(path, stored, options.bits);
  const bool luminance = options.grey && stored.channels == 3;
  auto image = make_image(stored.height, stored.width, luminance ? 1 : stored.channels);
  const auto& values = stored.values;
  if (luminance) {
    for (std::size_t i = 0; i < image.size(); ++i) {
      const int weighted = 299 * values[3 * i] + 587 * values[3 * i + 1] + 114 * values[3 * i + 2];
      image.data()[i] = static_cast<float>(weighted / 1000.0);
    }
  } else {
    std::transform(values.begin(), values.end(), image.data(), [](std::uint16_t v) { return static_cast<float>(v); });
  }
  return image;
}

/// Reads a mask as the raw 8-bit values of the file: of a palette image the indices, of 1, 2 and 4 bits the unstretched
/// values. An RGB file is accepted when its three channels agree everywhere.
/// Throws FileError as read_image does, also for 16 bits; DataError for coloured pixels.
inline LabelArray read_labels(const std::filesystem::path& path) {
  const auto stored = detail::decode_image(path, {.raw_indices = true, .max_pixels = ImageReadOptions{}.max_pixels});
  detail::require_bits(path, stored, 8);
  auto labels = make_labels(stored.height, stored.width);
  const auto channels = static_cast<std::size_t>(stored.channels);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::uint16_t* pixel = &stored.values[i * channels];
    if (channels == 3 && (pixel[0] != pixel[1] || pixel[0] != pixel[2])) {
      const auto width = static_cast<std::size_t>(stored.width);
      throw DataError("mask '" + path.string() + "' is in colour at row " + std::to_string(i / width) + ", column " +
                      std::to_string(i % width) + "; a mask is grey or has a palette of classes");
    }
    labels.data()[i] = static_cast<std::uint8_t>(pixel[0]);
  }
  return labels;
}

namespace detail {

/// The view of an array to be written, (height, width) or (height, width, 1 or 3) of 8 or 16 bits.
template <class Array>
PixelView pixels_of(const std::filesystem::path& path, const Array& array) {
  const int channels = array.dimension() == 3 ? extent(array, array.dimension() - 1) : 1;
  if (array.size() == 0 || (channels != 1 && channels != 3)) {
    throw DataError("'" + path.string() + "': an array of " + size_text(array) +
                    " cannot be written as an image; it must be height x width x 1 (grey) or 3 (RGB)");
  }
  return {array.data(), extent(array, 0), extent(array, 1), channels, 8 * static_cast<int>(sizeof(*array.data()))};
}

}  // namespace detail

/// Writes an 8-bit PNG: a label map or grey picture (height, width), values as they are. The file appears whole or not
/// at all; FileError when it cannot be written.
inline void write_png(const std::filesystem::path& path, const LabelArray& grey) {
  detail::encode_png(path, detail::pixels_of(path, grey));
}

/// Writes an 8-bit PNG from (height, width, 1 or 3) bytes, grey or RGB.
inline void write_png(const std::filesystem::path& path, const PictureArray& picture) {
  detail::encode_png(path, detail::pixels_of(path, picture));
}

/// Writes a 16-bit grey PNG from (height, width) values.
inline void write_png(const std::filesystem::path& path, const xt::xtensor<std::uint16_t, 2>& grey) {
  detail::encode_png(path, detail::pixels_of(path, grey));
}

/// As write_png, an LZW-compressed TIFF.
inline void write_tiff(const std::filesystem::path& path, const LabelArray& grey) {
  detail::encode_tiff(path, detail::pixels_of(path, grey));
}

/// As write_png, an LZW-compressed TIFF.
inline void write_tiff(const std::filesystem::path& path, const PictureArray& picture) {
  detail::encode_tiff(path, detail::pixels_of(path, picture));
}

/// As write_png, an LZW-compressed TIFF.
inline void write_tiff(const std::filesystem::path& path, const xt::xtensor<std::uint16_t, 2>& grey) {
  detail::encode_tiff(path, detail::pixels_of(path, grey));
}

}  // namespace ulna
