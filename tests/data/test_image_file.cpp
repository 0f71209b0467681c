// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <png.h>
#include <tiffio.h>

#include <cstring>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/image_file.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

/// Writes a PNG of any kind straight through libpng; `rows` are the packed bytes.
void write_raw_png(const std::filesystem::path& path, int height, int width, int bits, int color,
                   std::vector<unsigned char> rows, int interlace = PNG_INTERLACE_NONE) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), bits, color, interlace,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  const png_color palette[4] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {255, 0, 0}};
  const png_byte transparency[2] = {0, 128};
  if (color == PNG_COLOR_TYPE_PALETTE) {
    png_set_PLTE(png, info, palette, 4);
    png_set_tRNS(png, info, transparency, 2, nullptr);
  }
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  const std::size_t stride = rows.size() / static_cast<std::size_t>(height);
  for (std::size_t row = 0; row < static_cast<std::size_t>(height); ++row) pointers.push_back(&rows[row * stride]);
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  std::fclose(file);
}

struct TiffKind {
  int bits = 8, samples = 1, photometric = PHOTOMETRIC_MINISBLACK;
  int planar = PLANARCONFIG_CONTIG, format = SAMPLEFORMAT_UINT, compression = COMPRESSION_NONE;
  int tile = 0;  ///< side of a tile; 0: strips of 3 rows
};

/// Writes value(row, column, sample) as a TIFF of the given kind, straight through libtiff.
template <class F>
void write_raw_tiff(const std::filesystem::path& path, int height, int width, const TiffKind& kind, F value,
                    const char* mode = "w") {
  TIFF* tiff = TIFFOpen(path.c_str(), mode);
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, kind.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, kind.samples);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, kind.photometric);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, kind.planar);
  TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, kind.format);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, kind.compression);
  const auto put = [&](std::vector<unsigned char>& out, int row, int column) {
    for (int sample = 0; sample < kind.samples; ++sample) {
      const auto v = static_cast<std::uint16_t>(value(std::min(row, height - 1), std::min(column, width - 1), sample));
      unsigned char bytes[2];
      std::memcpy(bytes, &v, 2);
      if (kind.bits == 8) {
        out.push_back(static_cast<unsigned char>(v));
      } else {
        out.insert(out.end(), bytes, bytes + 2);
      }
    }
  };
  if (kind.tile > 0) {
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, kind.tile);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, kind.tile);
    std::uint32_t index = 0;
    for (int top = 0; top < height; top += kind.tile) {
      for (int left = 0; left < width; left += kind.tile) {
        std::vector<unsigned char> bytes;
        for (int row = top; row < top + kind.tile; ++row) {
          for (int column = left; column < left + kind.tile; ++column) put(bytes, row, column);
        }
        TIFFWriteEncodedTile(tiff, index++, bytes.data(), static_cast<tmsize_t>(bytes.size()));
      }
    }
  } else {
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 3);
    for (int first = 0; first < height; first += 3) {
      std::vector<unsigned char> bytes;
      for (int row = first; row < std::min(first + 3, height); ++row) {
        for (int column = 0; column < width; ++column) put(bytes, row, column);
      }
      TIFFWriteEncodedStrip(tiff, static_cast<std::uint32_t>(first / 3), bytes.data(),
                            static_cast<tmsize_t>(bytes.size()));
    }
  }
  TIFFClose(tiff);
}

LabelArray ramp(int height, int width) {
  auto labels = make_labels(height, width);
  for (std::size_t i = 0; i < labels.size(); ++i) labels.data()[i] = static_cast<std::uint8_t>(i * 7 % 256);
  return labels;
}

}  // namespace

TEST_CASE("8-bit grey, RGB and 16-bit grey survive write and read, as PNG and as TIFF") {
  TemporaryFolder folder;
  const LabelArray grey = ramp(13, 9);
  PictureArray color(PictureArray::shape_type{5, 4, 3});
  for (std::size_t i = 0; i < color.size(); ++i) color.data()[i] = static_cast<std::uint8_t>(i * 11 % 256);
  xt::xtensor<std::uint16_t, 2> deep(xt::xtensor<std::uint16_t, 2>::shape_type{6, 7});
  for (std::size_t i = 0; i < deep.size(); ++i) deep.data()[i] = static_cast<std::uint16_t>(i * 1559);
  write_png(folder / "grey.png", grey);
  write_tiff(folder / "grey.tif", grey);
  write_png(folder / "color.png", color);
  write_tiff(folder / "color.tif", color);
  write_png(folder / "deep.png", deep);
  write_tiff(folder / "deep.tif", deep);
  for (const std::string extension : {".png", ".tif"}) {
    const auto same = [](const ImageArray& image, const auto& array) {
      bool equal = image.size() == array.size();
      for (std::size_t i = 0; equal && i < array.size(); ++i) {
        equal = image.data()[i] == static_cast<float>(array.data()[i]);
      }
      return equal;
    };
    const ImageArray image = read_image(folder / ("grey" + extension));
    CHECK(image.shape(0) == 13);
    CHECK(image.shape(1) == 9);
    CHECK(image.shape(2) == 1);
    CHECK(same(image, grey));
    CHECK(same(read_image(folder / ("color" + extension)), color));
    CHECK(same(read_image(folder / ("deep" + extension)), deep));
    CHECK(read_labels(folder / ("grey" + extension)) == grey);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 6);  // no temporary file is left
}

TEST_CASE("PNG: alpha is dropped, palettes are looked up, few bits are stretched, interlacing is undone") {
  TemporaryFolder folder;
  write_raw_png(folder / "ga.png", 1, 2, 8, PNG_COLOR_TYPE_GRAY_ALPHA, {100, 0, 200, 255});
  const ImageArray grey = read_image(folder / "ga.png");
  CHECK(grey.shape(2) == 1);
  CHECK(grey(0, 0, 0) == 100);
  CHECK(grey(0, 1, 0) == 200);

  write_raw_png(folder / "rgba.png", 1, 2, 16, PNG_COLOR_TYPE_RGB_ALPHA,
                {1, 0, 2, 0, 3, 1, 0, 0, 255, 255, 0, 7, 0, 0, 1, 1});
  const ImageArray color = read_image(folder / "rgba.png");
  CHECK(color.shape(2) == 3);
  CHECK(color(0, 0, 0) == 256);
  CHECK(color(0, 0, 2) == 769);
  CHECK(color(0, 1, 0) == 65535);
  CHECK(color(0, 1, 1) == 7);

  write_raw_png(folder / "palette.png", 1, 4, 2, PNG_COLOR_TYPE_PALETTE, {0b00011011});
  const ImageArray looked_up = read_image(folder / "palette.png");
  CHECK(looked_up.shape(2) == 3);
  CHECK(looked_up(0, 1, 1) == 50);
  CHECK(looked_up(0, 3, 0) == 255);
  const LabelArray indices = read_labels(folder / "palette.png");
  for (std::size_t i = 0; i < 4; ++i) CHECK(indices(0, i) == i);

  write_raw_png(folder / "bit.png", 1, 8, 1, PNG_COLOR_TYPE_GRAY, {0b01000001});
  CHECK(read_image(folder / "bit.png")(0, 1, 0) == 255);
  CHECK(read_labels(folder / "bit.png")(0, 1) == 1);
  CHECK(read_labels(folder / "bit.png")(0, 2) == 0);
  write_raw_png(folder / "nibble.png", 1, 2, 4, PNG_COLOR_TYPE_GRAY, {0x3F});
  CHECK(read_image(folder / "nibble.png")(0, 0, 0) == 51);
  CHECK(read_labels(folder / "nibble.png")(0, 0) == 3);

  const LabelArray values = ramp(11, 10);
  write_raw_png(folder / "interlaced.png", 11, 10, 8, PNG_COLOR_TYPE_GRAY, {values.begin(), values.end()},
                PNG_INTERLACE_ADAM7);
  CHECK(read_labels(folder / "interlaced.png") == values);
}

TEST_CASE("grey = true gives ITU-R 601 luminance, unrounded") {
  TemporaryFolder folder;
  write_raw_png(folder / "rgb.png", 1, 2, 8, PNG_COLOR_TYPE_RGB, {255, 0, 0, 10, 20, 30});
  const ImageArray image = read_image(folder / "rgb.png", {.grey = true});
  CHECK(image.shape(2) == 1);
  CHECK(image(0, 0, 0) == doctest::Approx(76.245));
  CHECK(image(0, 1, 0) == doctest::Approx(18.15));
}

TEST_CASE("TIFF: strips and tiles, 8 and 16 bits, both byte orders, extra samples dropped, compressed") {
  TemporaryFolder folder;
  const int height = 37, width = 21;
  for (const int bits : {8, 16}) {
    for (const int samples : {1, 2, 3, 4}) {
      for (const int tile : {0, 16}) {
        for (const char* mode : {"wl", "wb"}) {
          const auto value = [&](int r, int c, int s) { return (r * 31 + c * 7 + s * 50) % (bits == 8 ? 256 : 60000); };
          const int compression = samples % 2 == 0 ? COMPRESSION_LZW : COMPRESSION_ADOBE_DEFLATE;
          const TiffKind kind{.bits = bits,
                              .samples = samples,
                              .photometric = samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK,
                              .compression = compression,
                              .tile = tile};
          write_raw_tiff(folder / "a.tif", height, width, kind, value, mode);
          const ImageArray image = read_image(folder / "a.tif", {.bits = bits});
          REQUIRE(image.shape(0) == 37);
          REQUIRE(image.shape(1) == 21);
          REQUIRE(image.shape(2) == (samples >= 3 ? 3 : 1));
          bool equal = true;
          for (int r = 0; r < height; ++r) {
            for (int c = 0; c < width; ++c) {
              for (int s = 0; s < extent(image, 2); ++s) {
                equal = equal && image(static_cast<std::size_t>(r), static_cast<std::size_t>(c),
                                       static_cast<std::size_t>(s)) == static_cast<float>(value(r, c, s));
              }
            }
          }
          CHECK(equal);
        }
      }
    }
  }
}

TEST_CASE("TIFF of kinds that are not read are refused with the kind") {
  TemporaryFolder folder;
  const auto zero = [](int, int, int) { return 0; };
  const auto refusal = [&](const TiffKind& kind) {
    write_raw_tiff(folder / "a.tif", 6, 5, kind, zero);
    return message_of<FileError>([&] { read_image(folder / "a.tif"); });
  };
  CHECK(contains(refusal({.bits = 16, .format = SAMPLEFORMAT_INT}), "signed"));
  CHECK(contains(refusal({.photometric = PHOTOMETRIC_CIELAB}), "photometric"));
  TIFF* planes = TIFFOpen((folder / "b.tif").c_str(), "w");
  for (const auto& [tag, value] : {std::pair{TIFFTAG_IMAGEWIDTH, 4},
                                   {TIFFTAG_IMAGELENGTH, 1},
                                   {TIFFTAG_BITSPERSAMPLE, 8},
                                   {TIFFTAG_SAMPLESPERPIXEL, 3},
                                   {TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB},
                                   {TIFFTAG_PLANARCONFIG, PLANARCONFIG_SEPARATE}}) {
    TIFFSetField(planes, static_cast<std::uint32_t>(tag), value);
  }
  unsigned char row[4] = {};
  for (std::uint16_t sample = 0; sample < 3; ++sample) TIFFWriteScanline(planes, row, 0, sample);
  TIFFClose(planes);
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "b.tif"); }), "separate planes"));
}

TEST_CASE("bit depth that was not expected is refused, with both depths") {
  TemporaryFolder folder;
  write_png(folder / "deep.png", xt::xtensor<std::uint16_t, 2>(xt::xtensor<std::uint16_t, 2>::shape_type{4, 4}, 300));
  write_png(folder / "flat.png", ramp(4, 4));
  const auto text = message_of<FileError>([&] { read_image(folder / "deep.png", {.bits = 8}); });
  CHECK(contains(text, "deep.png"));
  CHECK(contains(text, "16 bits per channel where 8 were expected"));
  CHECK(contains(message_of<FileError>([&] { read_labels(folder / "deep.png"); }), "where 8 were expected"));
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "flat.png", {.bits = 16}); }), "8 bits per channel"));
  CHECK_NOTHROW(read_image(folder / "deep.png", {.bits = 16}));
  CHECK_THROWS_AS(read_image(folder / "flat.png", {.bits = 12}), ArgumentError);
}

TEST_CASE("missing files, folders and files of another format are named") {
  TemporaryFolder folder;
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "none.png"); }), "none.png' does not exist"));
  CHECK(contains(message_of<FileError>([&] { read_image(folder.path()); }), "is not a file"));
  write_text(folder / "empty.png", "");
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "empty.png"); }), "is empty"));
  write_text(folder / "text.png", "This is not an image.");
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "text.png"); }), "neither a PNG nor a TIFF"));
  write_text(folder / "photo.png", "\xff\xd8\xff\xe0 and so on");
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "photo.png"); }), "JPEG"));
}

TEST_CASE("a PNG or TIFF cut off anywhere is refused") {
  TemporaryFolder folder;
  write_png(folder / "a.png", ramp(40, 30));
  write_tiff(folder / "a.tif", ramp(40, 30));
  for (const std::string name : {"a.png", "a.tif"}) {
    const std::string whole = read_text(folder / name);
    // The last four bytes of a TIFF say that no other page follows; the first page is whole without them.
    for (std::size_t length = 1; length < whole.size() - 4; length += 7) {
      write_text(folder / ("cut_" + name), std::string_view(whole).substr(0, length));
      const auto text = message_of<FileError>([&] { read_image(folder / ("cut_" + name)); });
      REQUIRE_MESSAGE(contains(text, "cut_" + name), "at ", length, ": ", text);
    }
  }
}

TEST_CASE("damaged bytes give an error or an image, never a crash") {
  TemporaryFolder folder;
  write_png(folder / "a.png", ramp(40, 30));
  write_raw_tiff(folder / "a.tif", 40, 30, {.compression = COMPRESSION_LZW, .tile = 16},
                 [](int r, int c, int) { return r + c; });
  int refused = 0;
  for (const std::string name : {"a.png", "a.tif"}) {
    const std::string whole = read_text(folder / name);
    for (std::size_t at = 8; at < whole.size(); at += 3) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 0xA5);
      write_text(folder / name, damaged);
      const auto text = message_of<FileError>([&] { read_image(folder / name); });
      CHECK_MESSAGE(!contains(text, "(another exception)"), text);
      if (contains(text, name)) ++refused;
    }
  }
  CHECK(refused > 50);
}

TEST_CASE("absurd dimensions are refused before memory is asked for") {
  TemporaryFolder folder;
  // A PNG header with a valid checksum that declares 60000 x 60000 pixels, and nothing behind it.
  write_text(folder / "huge.png",
             std::string_view("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\0\0\0\0", 29));
  std::string bytes = read_text(folder / "huge.png");
  const auto crc = [](std::string_view text) {
    std::uint32_t value = 0xffffffffu;
    for (const char c : text) {
      value ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) != 0 ? 0xedb88320u : 0u);
    }
    return ~value;
  };
  const std::uint32_t checksum = crc(std::string_view(bytes).substr(12));
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(checksum >> shift));
  bytes += std::string("\0\0\0\x05IDATxxxxxyyyy", 17);
  write_text(folder / "huge.png", bytes);
  const auto refused = message_of<FileError>([&] { read_image(folder / "huge.png"); });
  CHECK_MESSAGE(contains(refused, "declares 60000 x 60000 pixels"), refused);
  CHECK(contains(refused, "max_pixels"));
  const auto damaged = message_of<FileError>([&] { read_image(folder / "huge.png", {.max_pixels = 1ull << 40}); });
  CHECK_MESSAGE(contains(damaged, "truncated or damaged"), damaged);
  write_png(folder / "small.png", ramp(20, 20));
  CHECK(contains(message_of<FileError>([&] { read_image(folder / "small.png", {.max_pixels = 399}); }), "at most 399"));
  write_tiff(folder / "small.tif", ramp(20, 20));
  CHECK_THROWS_AS(read_image(folder / "small.tif", {.max_pixels = 399}), FileError);
}

TEST_CASE("a mask in RGB is read when it is grey, and refused with the pixel when it is not") {
  TemporaryFolder folder;
  write_raw_png(folder / "m.png", 1, 3, 8, PNG_COLOR_TYPE_RGB, {0, 0, 0, 255, 255, 255, 9, 9, 9});
  CHECK(read_labels(folder / "m.png")(0, 2) == 9);
  write_raw_png(folder / "m.png", 1, 3, 8, PNG_COLOR_TYPE_RGB, {0, 0, 0, 255, 255, 255, 9, 8, 9});
  CHECK(contains(message_of<DataError>([&] { read_labels(folder / "m.png"); }), "row 0, column 2"));
}

TEST_CASE("writing where it cannot be is an error and leaves what was there") {
  TemporaryFolder folder;
  CHECK(contains(message_of<FileError>([&] { write_png(folder / "no/such/a.png", ramp(4, 4)); }), "a.png"));
  CHECK_THROWS_AS(write_tiff(folder / "no/such/a.tif", ramp(4, 4)), FileError);
  CHECK_THROWS_AS(write_png(folder / "a.png", PictureArray(PictureArray::shape_type{2, 2, 2})), DataError);
  CHECK_THROWS_AS(write_png(folder / "a.png", LabelArray(LabelArray::shape_type{0, 2})), DataError);
  CHECK_FALSE(std::filesystem::exists(folder / "a.png"));
  std::filesystem::create_directory(folder / "taken.png");
  CHECK_THROWS_AS(write_png(folder / "taken.png", ramp(4, 4)), FileError);
  CHECK_THROWS_AS(write_tiff(folder / "taken.png", ramp(4, 4)), FileError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}
