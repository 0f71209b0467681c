// SPDX-License-Identifier: MIT
// TIFF through libtiff. Part of the optional component ulna::image; use data/image_file.hpp.
#pragma once

#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "ulna/data/stored_image.hpp"
#include "ulna/file.hpp"

namespace ulna::detail {

/// One open TIFF file. Its messages go to `error` instead of to the standard error stream: libtiff 4.5 lets each file
/// have its own handlers, so nothing global changes.
class TiffFile {
 public:
  TiffFile(const std::filesystem::path& path, const char* mode) {
    TIFFOpenOptions* options = TIFFOpenOptionsAlloc();
    if (options == nullptr) throw std::bad_alloc();
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, this);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, nullptr);
    tiff = TIFFOpenExt(path.c_str(), mode, options);
    TIFFOpenOptionsFree(options);
  }
  TiffFile(const TiffFile&) = delete;
  TiffFile& operator=(const TiffFile&) = delete;
  ~TiffFile() { close(); }

  void close() {
    if (tiff != nullptr) TIFFClose(tiff);
    tiff = nullptr;
  }

  TIFF* tiff = nullptr;
  char error[200] = "";  ///< the first error; later ones follow from it

 private:
  static int on_error(TIFF*, void* self, const char*, const char* format, va_list arguments) {
    auto* file = static_cast<TiffFile*>(self);
    if (file->error[0] == '\0') std::vsnprintf(file->error, sizeof file->error, format, arguments);
    return 1;  // handled: the global handler, which prints, is not asked
  }
  static int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }
};

/// The tags that say how the pixels lie.
struct TiffLayout {
  std::uint32_t width = 0, height = 0;
  std::uint16_t bits = 1, samples = 1, planar = PLANARCONFIG_CONTIG, format = SAMPLEFORMAT_UINT;
  std::uint16_t photometric = PHOTOMETRIC_MINISBLACK, compression = COMPRESSION_NONE;

  explicit TiffLayout(TIFF* tiff) {
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    if (TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric) == 0) {
      photometric = samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK;
    }
  }

  /// Channels kept: alpha and other extra samples are dropped.
  int channels() const { return photometric == PHOTOMETRIC_RGB ? 3 : 1; }
  std::size_t pixel_bytes() const { return std::size_t{samples} * bits / 8; }
};

inline void tiff_require_supported(const std::filesystem::path& path, const TiffLayout& layout, bool raw_indices) {
  if (layout.bits != 8 && layout.bits != 16) {
    throw_file(path, "is a TIFF of " + std::to_string(layout.bits) + " bits per sample; 8 and 16 are read");
  }
  if (layout.format != SAMPLEFORMAT_UINT && layout.format != SAMPLEFORMAT_VOID) {
    throw_file(path, "is a TIFF of signed or floating-point samples; unsigned integers are read");
  }
  if (layout.planar != PLANARCONFIG_CONTIG && layout.samples > 1) {
    throw_file(path, "is a TIFF with its channels in separate planes; interleaved channels are read");
  }
  const bool grey = layout.photometric == PHOTOMETRIC_MINISBLACK || layout.photometric == PHOTOMETRIC_MINISWHITE;
  const bool rgb = layout.photometric == PHOTOMETRIC_RGB && layout.samples >= 3;
  const bool palette = layout.photometric == PHOTOMETRIC_PALETTE && raw_indices;
  if (!((grey || palette) && layout.samples >= 1) && !rgb) {
    throw_file(path, "is a TIFF of photometric interpretation " + std::to_string(layout.photometric) + " with " +
                         std::to_string(layout.samples) + " samples a pixel; grey and RGB are read");
  }
  if (TIFFIsCODECConfigured(layout.compression) == 0) {
    throw_file(path, "is a TIFF of compression scheme " + std::to_string(layout.compression) +
                         ", which this libtiff cannot decode; save it with LZW, Deflate or no compression");
  }
}

/// The most bytes that `file_bytes` can decode to. LZW and Deflate stay below 1400:1; other schemes are left to
/// max_pixels.
inline std::uint64_t tiff_most_bytes(std::uint16_t compression, std::uint64_t file_bytes) {
  switch (compression) {
    case COMPRESSION_NONE:
      return file_bytes;
    case COMPRESSION_PACKBITS:
    case COMPRESSION_LZW:
    case COMPRESSION_DEFLATE:
    case COMPRESSION_ADOBE_DEFLATE:
      return file_bytes * 1400;
    default:
      return UINT64_MAX;
  }
}

/// Copies the first `columns` pixels of a row, as decoded by libtiff, into row `row` of the image.
inline void tiff_store(StoredImage& image, const TiffLayout& layout, int row, int first_column, int columns,
                       const unsigned char* source) {
  const auto channels = static_cast<std::size_t>(image.channels);
  std::uint16_t* out = image.values.data() + (static_cast<std::size_t>(row) * static_cast<std::size_t>(image.width) +
                                              static_cast<std::size_t>(first_column)) *
                                                 channels;
  for (int column = 0; column < columns; ++column, source += layout.pixel_bytes()) {
    for (std::size_t channel = 0; channel < channels; ++channel, ++out) {
      if (layout.bits == 16) {
        std::memcpy(out, source + 2 * channel, 2);
      } else {
        *out = source[channel];
      }
    }
  }
}

/// Reads all strips; false when one is missing, short or damaged.
inline bool tiff_read_strips(TIFF* tiff, const TiffLayout& layout, StoredImage& image) {
  std::uint32_t rows_per_strip = layout.height;
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &rows_per_strip);
  const int step = static_cast<int>(std::min(rows_per_strip, layout.height));
  const std::size_t row_bytes = layout.pixel_bytes() * layout.width;
  if (step == 0 || TIFFScanlineSize(tiff) != static_cast<tmsize_t>(row_bytes)) return false;
  std::vector<unsigned char> buffer(row_bytes * static_cast<std::size_t>(step));
  for (int first = 0; first < image.height; first += step) {
    const int rows = std::min(step, image.height - first);
    const auto expected = static_cast<tmsize_t>(row_bytes * static_cast<std::size_t>(rows));
    const std::uint32_t strip = TIFFComputeStrip(tiff, static_cast<std::uint32_t>(first), 0);
    if (TIFFReadEncodedStrip(tiff, strip, buffer.data(), expected) != expected) return false;
    for (int row = 0; row < rows; ++row) {
      tiff_store(image, layout, first + row, 0, image.width, buffer.data() + static_cast<std::size_t>(row) * row_bytes);
    }
  }
  return true;
}

/// Reads all tiles; false when one is missing, short or damaged.
inline bool tiff_read_tiles(TIFF* tiff, const TiffLayout& layout, StoredImage& image, std::uint64_t max_pixels) {
  std::uint32_t tile_width = 0, tile_height = 0;
  TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_width);
  TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_height);
  if (tile_width == 0 || tile_height == 0 || tile_width > max_pixels / tile_height) return false;
  const std::size_t row_bytes = layout.pixel_bytes() * tile_width;
  const auto expected = static_cast<tmsize_t>(row_bytes * tile_height);
  if (TIFFTileSize(tiff) != expected) return false;
  std::vector<unsigned char> buffer(row_bytes * tile_height);
  for (std::uint32_t top = 0; top < layout.height; top += tile_height) {
    for (std::uint32_t left = 0; left < layout.width; left += tile_width) {
      const std::uint32_t tile = TIFFComputeTile(tiff, left, top, 0, 0);
      if (TIFFReadEncodedTile(tiff, tile, buffer.data(), expected) != expected) return false;
      const std::uint32_t rows = std::min(tile_height, layout.height - top);
      const int columns = static_cast<int>(std::min(tile_width, layout.width - left));
      for (std::uint32_t row = 0; row < rows; ++row) {
        tiff_store(image, layout, static_cast<int>(top + row), static_cast<int>(left), columns,
                   buffer.data() + row * row_bytes);
      }
    }
  }
  return true;
}

/// Decodes the first page of a TIFF file; FileError when it is damaged or of a kind that is not read.
inline StoredImage decode_tiff(const std::filesystem::path& path, const DecodeOptions& options) {
  TiffFile file(path, "r");
  const auto fail = [&] {
    throw_file(path, std::string("is not a whole TIFF file") + (file.error[0] != '\0' ? ": " : "") + file.error);
  };
  if (file.tiff == nullptr) fail();
  const TiffLayout layout(file.tiff);
  tiff_require_supported(path, layout, options.raw_indices);
  require_sane_size(path, layout.height, layout.width, options);
  const std::uint64_t file_bytes = std::filesystem::file_size(path);
  if (layout.pixel_bytes() * layout.width * layout.height > tiff_most_bytes(layout.compression, file_bytes)) {
    throw_file(path, "declares " + std::to_string(layout.height) + " x " + std::to_string(layout.width) +
                         " pixels, more than its " + std::to_string(file_bytes) +
                         " bytes can hold; it is truncated or damaged");
  }

  StoredImage image;
  image.height = static_cast<int>(layout.height);
  image.width = static_cast<int>(layout.width);
  image.channels = layout.channels();
  image.bits = layout.bits;
  image.values.resize(std::size_t{layout.height} * layout.width * static_cast<std::size_t>(image.channels));
  const bool whole = TIFFIsTiled(file.tiff) != 0 ? tiff_read_tiles(file.tiff, layout, image, options.max_pixels)
                                                 : tiff_read_strips(file.tiff, layout, image);
  if (!whole) fail();
  return image;
}

/// Writes the pixels as an LZW-compressed TIFF file; FileError when that fails, and then no file appears.
inline void encode_tiff(const std::filesystem::path& path, const PixelView& pixels) {
  TemporaryFile temporary(replaceable(path));
  TiffFile file(temporary.name(), "w");
  if (file.tiff == nullptr) throw_file(path, "cannot be opened for writing; does its folder exist?");
  TIFF* const tiff = file.tiff;
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, pixels.width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, pixels.height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, pixels.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, pixels.channels);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, pixels.channels == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_LZW);
  TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize(tiff, 0));
  std::vector<unsigned char> row_copy(pixels.row_bytes());  // libtiff wants to be able to change what it writes
  bool written = true;
  for (int row = 0; row < pixels.height && written; ++row) {
    std::copy_n(pixels.row(row), row_copy.size(), row_copy.begin());
    written = TIFFWriteScanline(tiff, row_copy.data(), static_cast<std::uint32_t>(row), 0) == 1;
  }
  written = TIFFFlush(tiff) == 1 && written;
  file.close();
  if (!written || file.error[0] != '\0') throw_file(path, std::string("cannot be written: ") + file.error);
  if (const int code = temporary.rename(); code != 0) throw_system_error("cannot write", path, code);
}

}  // namespace ulna::detail
