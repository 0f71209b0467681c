// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "ulna/weights/json.hpp"

using ulna::WeightsError;
using ulna::json::Reader;

namespace {

std::string read_string(const std::string& text) {
  Reader in(text, "t");
  std::string value = in.string();
  in.end();
  return value;
}

std::uint64_t read_number(const std::string& text) {
  Reader in(text, "t");
  const auto value = in.whole_number();
  in.end();
  return value;
}

/// Reads arrays within arrays until something else comes.
void read_nested(Reader& in) {
  in.array([&] { read_nested(in); });
}

}  // namespace

TEST_CASE("strings: escapes and UTF-8") {
  CHECK(read_string(R"(  "plain" )") == "plain");
  CHECK(read_string(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(read_string(R"("\u0041\u00e9\u20AC\uD83D\uDE00")") == "A\u00e9\u20ac\U0001F600");
  CHECK(read_string("\"\u00e9\u20ac\U0001F600\"") == "\u00e9\u20ac\U0001F600");
  CHECK(read_string(R"("\u0000")") == std::string(1, '\0'));
}

TEST_CASE("strings: what is refused") {
  for (const std::string text : {R"("open)",
                                 R"(")",
                                 R"("\)",
                                 R"("\x41")",
                                 R"("\u12")",
                                 R"("\u12g4")",
                                 R"("\ud83d")",
                                 R"("\ud83dA")",
                                 R"("\ud83d\u0041")",
                                 R"("\ude00")",
                                 R"('single')",
                                 "\"tab\there\"",
                                 "\"\xff\"",
                                 "\"\xc0\x80\"",
                                 "\"\xe0\x80\x80\"",
                                 "\"\xed\xa0\x80\"",
                                 "\"\xf4\x90\x80\x80\"",
                                 "\"\xf8\x88\x80\x80\x80\"",
                                 "\"\xe2\x82\"",
                                 R"("a" "b")",
                                 ""}) {
    CAPTURE(text);
    CHECK_THROWS_AS(read_string(text), WeightsError);
  }
  CHECK_THROWS_WITH(read_string("\"ab\x01\""), "t: at byte 3 found byte 0x01; right would be UTF-8 text up to a '\"'");
}

TEST_CASE("whole numbers") {
  CHECK(read_number(" 0 ") == 0);
  CHECK(read_number("18446744073709551615") == 18446744073709551615u);
  for (const std::string text : {"-1", "+1", "1.0", "1e3", "01", "18446744073709551616", "", "x", "0x10", "1 2"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(read_number(text), WeightsError);
  }
}

TEST_CASE("objects and arrays") {
  Reader in(R"( {"a" : [1, 2 ,3], "b":[]} )", "t");
  std::vector<std::uint64_t> numbers;
  std::string keys;
  in.object([&](const std::string& key) {
    keys += key;
    in.array([&] { numbers.push_back(in.whole_number()); });
  });
  in.end();
  CHECK(keys == "ab");
  CHECK(numbers == std::vector<std::uint64_t>{1, 2, 3});

  for (const std::string text : {R"({"a":1,})", R"({"a" 1})", R"({"a":1 "b":2})", R"({a:1})", R"({"a":1)", R"([1])",
                                 R"({,})", R"({"a":1}{})", R"({"a":1,"\u0061":2})"}) {
    CAPTURE(text);
    Reader bad(text, "t");
    CHECK_THROWS_AS((bad.object([&](const std::string&) { bad.whole_number(); }), bad.end()), WeightsError);
  }
  Reader twice(R"({"a":1,"a":2})", "t");
  CHECK_THROWS_WITH(twice.object([&](const std::string&) { twice.whole_number(); }),
                    "t: at byte 7 found the name \"a\" for the second time; right would be each name once");
}

TEST_CASE("levels are limited, however deep the text") {
  const std::string fits = std::string(Reader::max_depth, '[') + std::string(Reader::max_depth, ']');
  Reader good(fits, "t");
  CHECK_NOTHROW(read_nested(good));
  const std::string deep(1'000'000, '[');
  Reader bad(deep, "t");
  CHECK_THROWS_WITH(read_nested(bad), doctest::Contains("too many levels"));
}

TEST_CASE("quoted text reads back") {
  const std::string text = std::string("q\" b\\ \n\x1f\x7f\0 ", 11) + "\u00e9\U0001F600";
  CHECK(read_string(ulna::json::quoted(text)) == text);
  CHECK_THROWS_AS(ulna::json::quoted("\xff"), ulna::ArgumentError);
}
