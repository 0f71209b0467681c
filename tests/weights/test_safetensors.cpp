// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/random.hpp"
#include "ulna/weights/safetensors.hpp"

namespace st = ulna::safetensors;
using ulna::ArgumentError;
using ulna::WeightsError;

namespace {

/// A file of that header (length in front) and that many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data_bytes, '\1');
}

st::File parse(const std::string& file) { return st::File::parse(std::as_bytes(std::span(file)), "w"); }

/// What parsing says, or "" when it succeeds.
std::string message(const std::string& file) {
  try {
    parse(file);
    return "";
  } catch (const WeightsError& error) {
    return error.what();
  }
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"x":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

}  // namespace

TEST_CASE("what is written reads back, in order, aligned, from memory and from a file") {
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  const std::vector<float> floats{1.5f, -0.0f, std::numeric_limits<float>::infinity(), 3, 4, 5};
  const std::vector<double> doubles{0.1};
  const std::vector<std::int64_t> none;
  st::Writer writer({{"format", "pt"}, {"k\"\n", "v\u00e9"}});
  writer.add("z/bytes", {3}, std::span(bytes));
  writer.add("a.floats", {2, 3}, std::span(floats));
  writer.add("scalar", {}, std::span(doubles));
  writer.add("none", {0, 7}, std::span(none));

  const TemporaryFolder folder;
  const auto path = folder.path() / "w.safetensors";
  writer.save(path);
  const auto image = writer.to_bytes();
  const auto stored = st::File::open(path);
  const auto parsed = st::File::parse(image);

  std::uint64_t length = 0;
  std::memcpy(&length, image.data(), 8);
  CHECK((8 + length) % 64 == 0);  // where the data begins
  for (const auto* file : {&stored, &parsed}) {
    CHECK(file->metadata() == st::Metadata{{"format", "pt"}, {"k\"\n", "v\u00e9"}});
    REQUIRE(file->tensors().size() == 4);
    CHECK(file->tensors()[0].name == "z/bytes");
    CHECK(file->tensors()[3].name == "none");
    CHECK(file->at("a.floats").description() == "F32 [2, 3]");
    CHECK(file->at("a.floats").to_vector<float>() == floats);
    CHECK(file->at("a.floats").to_vector<double>()[0] == 1.5);
    CHECK(file->at("z/bytes").to_vector<std::uint8_t>() == bytes);
    CHECK(file->at("scalar").to_vector<double>() == doubles);
    CHECK(file->at("scalar").to_vector<float>()[0] == 0.1f);
    CHECK(file->at("none").element_count() == 0);
    CHECK(file->find("other") == nullptr);
    CHECK_THROWS_AS(file->at("other"), WeightsError);
  }
  for (const auto& tensor : parsed.tensors()) {
    const auto data = image.data() + 8 + length;
    CHECK(static_cast<std::size_t>(tensor.bytes.data() - data) % st::dtype_size(tensor.dtype) == 0);
  }
}

TEST_CASE("an empty file of tensors") {
  const auto bytes = st::Writer().to_bytes();
  CHECK(bytes.size() == 64);
  const auto file = st::File::parse(bytes);
  CHECK(file.tensors().empty());
}

TEST_CASE("half and bfloat convert exactly") {
  using st::detail::from_bf16;
  using st::detail::from_f16;
  CHECK(from_f16(0x3C00) == 1.0f);
  CHECK(from_f16(0xC000) == -2.0f);
  CHECK(from_f16(0x7BFF) == 65504.0f);
  CHECK(from_f16(0x0400) == 0x1p-14f);
  CHECK(from_f16(0x0001) == 0x1p-24f);
  CHECK(from_f16(0x83FF) == -0x3FFp-24f);
  CHECK(from_f16(0x3555) == 0x1.554p-2f);
  CHECK(std::signbit(from_f16(0x8000)));
  CHECK(from_f16(0xFC00) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(from_f16(0x7E01)));
  CHECK(from_bf16(0x3F80) == 1.0f);
  CHECK(from_bf16(0xC2F7) == -123.5f);
  // Every finite half against its definition (-1)^s 2^(e-25) (1024 + m), or m 2^-24 when e = 0.
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10), mantissa = static_cast<int>(bits & 0x3FF);
    const double right = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (from_f16(static_cast<std::uint16_t>(bits)) != right) FAIL("half 0x" << std::hex << bits);
  }
}

TEST_CASE("elements convert only where that is meant") {
  const auto file = file_of(R"({"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                            R"("i":{"dtype":"I32","shape":[1],"data_offsets":[2,6]}})",
                            6);
  const auto parsed = parse(file);
  CHECK(parsed.at("h").to_vector<double>()[0] == std::ldexp(257, -24));
  CHECK(parsed.at("i").to_vector<std::int32_t>()[0] == 0x01010101);
  CHECK_THROWS_WITH(parsed.at("i").to_vector<float>(), "tensor i is I32 [1]; its elements do not convert to F32");
  std::vector<float> room(2);
  CHECK_THROWS_AS(parsed.at("h").copy_to(std::span(room)), WeightsError);
}

TEST_CASE("malformed files are refused with one clear message") {
  CHECK(message("abc") == "w: found 3 bytes; a safetensors file has at least the 8 of its header length");
  CHECK(message(file_of("{}", 0).substr(0, 9)) ==
        "w: the header length is 2, but at most 1 is possible; the file is truncated or no safetensors file");
  CHECK(message(std::string(8, '\xff') + "{}").find("18446744073709551615, but at most 2") != std::string::npos);
  const auto refused = [](const std::string& header, std::size_t data, const std::string& part) {
    const auto text = message(file_of(header, data));
    CAPTURE(header);
    CAPTURE(text);
    CHECK(text.starts_with("w: "));
    CHECK(text.find(part) != std::string::npos);
  };
  refused("", 0, "found no object");
  refused("[]", 0, "found no object");
  refused(" {}", 0, "found no object");
  refused("{}x", 0, "found 'x'; right would be the end of the text");
  refused("not json", 0, "found no object");
  refused(R"({"x":1})", 0, "an object");
  refused(R"({"__metadata__":{"a":1}})", 0, "a string");
  refused(R"({"x":{"dtype":"F32","shape":[]}})", 0, "a field missing");
  refused(R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4],"more":1}})", 4, "the field \"more\"");
  refused(R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"x":{}})", 4, "for the second time");
  refused(one("F33", "[]", "[0,4]"), 4, "the dtype \"F33\"; right would be one of BOOL, U8");
  refused(one("F32", "[-1]", "[0,4]"), 4, "found -1");
  refused(one("F32", "[1.5]", "[0,4]"), 4, "found 1.5");
  refused(one("F32", "[1]", "[0]"), 4, "1 data_offsets");
  refused(one("F32", "[1]", "[4,0]"), 4, "within the 4 bytes of data");
  refused(one("F32", "[2]", "[0,8]"), 4, "within the 4 bytes of data");
  refused(one("F32", "[2]", "[0,4]"), 4, "dtype and shape ask for 8 bytes");
  refused(one("F32", "[4294967296,4294967296]", "[0,0]"), 0, "more than 2^64 bytes");
  refused(one("F32", "[1]", "[4,8]"), 8, "they leave a hole; 0 is right");
  refused(one("F32", "[1]", "[0,4]"), 7, "3 bytes follow the last tensor");
  refused(
      R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", 4,
      "tensor \"y\" has the data_offsets [2, 4]; they overlap another tensor");
}

TEST_CASE("a header beyond the limit is refused although the file is as long") {
  std::string file = file_of("{", 0) + std::string(100'000'000, ' ');
  const std::uint64_t length = file.size() - 8;
  std::memcpy(file.data(), &length, 8);
  CHECK(message(file).find("100000001, but at most 100000000") != std::string::npos);
}

TEST_CASE("the writer refuses what would not read back") {
  const std::vector<float> values(4);
  st::Writer writer;
  writer.add("x", {4}, std::span(values));
  CHECK_THROWS_AS(writer.add("x", {4}, std::span(values)), ArgumentError);
  CHECK_THROWS_AS(writer.add("y", {3}, std::span(values)), ArgumentError);
  CHECK_THROWS_AS(writer.add("__metadata__", {4}, std::span(values)), ArgumentError);
  CHECK_THROWS_AS(writer.add("\xff", {4}, std::span(values)), ArgumentError);
  const auto bytes = writer.to_bytes();
  const auto file = st::File::parse(bytes);
  CHECK(file.tensors().size() == 1);
}

TEST_CASE("missing and empty files") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(st::File::open(folder.path() / "none"), ulna::FileError);
  ulna::write_file_atomically(folder.path() / "empty", "");
  CHECK_THROWS_AS(st::File::open(folder.path() / "empty"), WeightsError);
}

TEST_CASE("thousands of damaged files are refused or read, never more") {
  const std::string sound =
      file_of(R"({"__metadata__":{"k":"\u00e9"},"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
              R"("y":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}})",
              10);
  REQUIRE(message(sound).empty());
  const std::string alphabet = "{}[]\",:\\u0123456789eE-. x_FB";
  ulna::Random random(ulna::Seed{17});
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string file = sound;
    for (int change = 0; change <= random.below(3); ++change) {
      const auto at = static_cast<std::size_t>(random.below(static_cast<int>(file.size())));
      const auto letter = alphabet[static_cast<std::size_t>(random.below(static_cast<int>(alphabet.size())))];
      switch (random.below(6)) {
        case 0:
          file[at] = letter;
          break;
        case 1:
          file[at] = static_cast<char>(random.bits());
          break;
        case 2:
          file.insert(at, 1, letter);
          break;
        case 3:
          file.erase(at, 1 + static_cast<std::size_t>(random.below(4)));
          break;
        case 4:
          file.insert(at, file.substr(at, static_cast<std::size_t>(random.below(40))));
          break;
        default:
          file[8 + at % (file.size() - 8)] = letter;
          break;
      }
      if (file.size() < 10) break;
      if (random.chance(0.5f)) {  // keep the header length right, so that the damage reaches the JSON
        const std::uint64_t length = file.size() - 8 - std::min<std::size_t>(10, file.size() - 8);
        std::memcpy(file.data(), &length, 8);
      }
    }
    try {
      const auto parsed = parse(file);
      for (const auto& tensor : parsed.tensors()) {
        if (tensor.dtype == st::DType::F32) CHECK(tensor.to_vector<float>().size() == tensor.element_count());
      }
      ++read;
    } catch (const ulna::Error&) {
    }
  }
  CHECK(read > 100);
  CHECK(read < 10'000);
}
