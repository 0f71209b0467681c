// SPDX-License-Identifier: MIT
// PNG through libpng. Part of the optional component ulna::image; use data/image_file.hpp.
//
// libpng reports errors by longjmp. Every call into it runs inside png_guarded(), whose frames and lambdas hold nothing
// with a destructor; what needs one lives in the caller, which the jump does not leave.
#pragma once

#include <png.h>

#include <algorithm>
#include <bit>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ulna/data/stored_image.hpp"
#include "ulna/file.hpp"

namespace ulna::detail {

/// libpng's last error text. Plain memory, as the error callback may not allocate.
struct PngError {
  char text[160] = "";
};

inline void png_on_error(png_structp png, png_const_charp text) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  std::snprintf(error->text, sizeof error->text, "%s", text);
  png_longjmp(png, 1);
}

inline void png_on_warning(png_structp, png_const_charp) {}

/// Runs `calls` (libpng calls only) and returns whether they came through; PngError says why not.
template <class Calls>
bool png_guarded(png_structp png, const Calls& calls) {
  static_assert(std::is_trivially_destructible_v<Calls>, "a longjmp would skip the destructor");
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  calls();
  return true;
}

/// The bytes of a file, consumed by libpng's read callback.
struct PngBytes {
  const unsigned char* data = nullptr;
  std::size_t left = 0;
};

inline void png_on_read(png_structp png, png_bytep out, std::size_t count) {
  auto* bytes = static_cast<PngBytes*>(png_get_io_ptr(png));
  if (count > bytes->left) png_error(png, "the file ends too early");
  std::memcpy(out, bytes->data, count);
  bytes->data += count;
  bytes->left -= count;
}

/// Owns libpng's structures of one file being read.
class PngReader {
 public:
  PngReader() : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, png_on_error, png_on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }

  PngError error;
  png_structp png = nullptr;
  png_infop info = nullptr;
};

/// Asks libpng for grey or RGB of 8 or 16 bits in the machine's byte order, without alpha.
inline void png_ask_for_plain_values(png_structp png, png_infop info, bool raw_indices) {
  const auto color = png_get_color_type(png, info);
  if (raw_indices) {
    png_set_packing(png);
  } else if (color == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(png);
  } else if (png_get_bit_depth(png, info) < 8) {
    png_set_expand_gray_1_2_4_to_8(png);
  }
  if (!(raw_indices && color == PNG_COLOR_TYPE_PALETTE)) png_set_strip_alpha(png);
  if constexpr (std::endian::native == std::endian::little) png_set_swap(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

/// Decodes the bytes of a PNG file; FileError (naming `path`) when they are not a whole PNG.
inline StoredImage decode_png(const std::filesystem::path& path, std::span<const unsigned char> file,
                              const DecodeOptions& options) {
  PngReader reader;
  png_structp png = reader.png;
  png_infop info = reader.info;
  const auto fail = [&] { throw_file(path, std::string("is not a whole PNG file: ") + reader.error.text); };

  PngBytes bytes{file.data(), file.size()};
  const bool header = png_guarded(png, [&] {
    png_set_read_fn(png, &bytes, png_on_read);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff);  // so that the refusal below speaks, with its remedy
    png_read_info(png, info);
    png_ask_for_plain_values(png, info, options.raw_indices);
  });
  if (!header) fail();

  StoredImage image;
  const std::size_t height = png_get_image_height(png, info), width = png_get_image_width(png, info);
  require_sane_size(path, height, width, options);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  // Deflate cannot compress beyond 1032:1, so a larger claim is a damaged header: refuse before allocating for it.
  if (row_bytes * height / 1032 > file.size()) {
    throw_file(path, "declares " + std::to_string(height) + " x " + std::to_string(width) + " pixels, more than its " +
                         std::to_string(file.size()) + " bytes can hold; it is truncated or damaged");
  }
  image.height = static_cast<int>(height);
  image.width = static_cast<int>(width);
  image.channels = png_get_channels(png, info);
  image.bits = png_get_bit_depth(png, info) == 16 ? 16 : 8;

  std::vector<unsigned char> pixels(row_bytes * height);
  std::vector<png_bytep> rows(height);
  for (std::size_t row = 0; row < height; ++row) rows[row] = pixels.data() + row * row_bytes;
  png_bytep* const first_row = rows.data();
  const bool body = png_guarded(png, [&] {
    png_read_image(png, first_row);
    png_read_end(png, nullptr);
  });
  if (!body) fail();

  image.values.resize(height * width * static_cast<std::size_t>(image.channels));
  if (image.bits == 16) {
    std::memcpy(image.values.data(), pixels.data(), image.values.size() * 2);
  } else {
    std::copy_n(pixels.begin(), image.values.size(), image.values.begin());
  }
  return image;
}

/// Owns libpng's structures of one file being written.
class PngWriter {
 public:
  PngWriter() : png(png_create_write_struct(PNG_LIBPNG_VER_STRING, &error, png_on_error, png_on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_write_struct(&png, nullptr);
      throw std::bad_alloc();
    }
  }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;
  ~PngWriter() { png_destroy_write_struct(&png, &info); }

  PngError error;
  png_structp png = nullptr;
  png_infop info = nullptr;
};

inline void png_on_write(png_structp png, png_bytep bytes, std::size_t count) {
  bool stored = true;
  try {  // no exception may pass through libpng, which is C
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
  } catch (...) {
    stored = false;
  }
  if (!stored) png_error(png, "out of memory");
}

inline void png_on_flush(png_structp) {}

/// Writes the pixels as a PNG file (grey or RGB, 8 or 16 bits); FileError when that fails, and then no file appears.
inline void encode_png(const std::filesystem::path& path, const PixelView& pixels) {
  std::string bytes;
  PngWriter writer;
  png_structp png = writer.png;
  png_infop info = writer.info;
  const bool encoded = png_guarded(png, [&] {
    png_set_write_fn(png, &bytes, png_on_write, png_on_flush);
    png_set_IHDR(png, info, static_cast<png_uint_32>(pixels.width), static_cast<png_uint_32>(pixels.height),
                 pixels.bits, pixels.channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    if constexpr (std::endian::native == std::endian::little) png_set_swap(png);
    for (int row = 0; row < pixels.height; ++row) png_write_row(png, pixels.row(row));
    png_write_end(png, info);
  });
  if (!encoded) throw_file(path, std::string("cannot be written: ") + writer.error.text);
  write_file_atomically(path, std::string_view(bytes));
}

}  // namespace ulna::detail
