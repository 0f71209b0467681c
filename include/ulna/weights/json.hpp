// SPDX-License-Identifier: MIT
// The part of JSON (RFC 8259) that a safetensors header uses: objects, arrays, strings, whole numbers. Strict, and
// driven by the caller: the reader keeps no tree and recurses only where the caller asks for the next level, so a
// hostile text can neither exhaust the stack nor cost more memory than the caller keeps.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "ulna/error.hpp"

namespace ulna::json {

namespace detail {

/// The length of the UTF-8 sequence at the start of `text` (RFC 3629: no overlong form, no surrogate, at most
/// U+10FFFF), or 0 when there is none.
constexpr std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned head = byte(0);
  if (text.empty()) return 0;
  if (head < 0x80) return 1;
  if (head >= 0xC2 && head <= 0xDF) return tail(1) ? 2 : 0;
  if (head >= 0xE0 && head <= 0xEF) {
    const bool overlong = head == 0xE0 && byte(1) < 0xA0, surrogate = head == 0xED && byte(1) > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (head >= 0xF0 && head <= 0xF4) {
    const bool overlong = head == 0xF0 && byte(1) < 0x90, too_large = head == 0xF4 && byte(1) > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

inline void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

}  // namespace detail

/// Reads a JSON text from front to back. The caller says what must come next; anything else is a WeightsError that
/// names the text, the byte, what was found and what would be right.
class Reader {
 public:
  /// Objects and arrays within each other at most.
  static constexpr int max_depth = 32;

  /// `name` stands in messages: the file, say.
  Reader(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {}

  /// Reads an object, calling member(key) with the reader in front of each value. Equal keys are refused.
  template <class Member>
  void object(Member&& member) {
    std::unordered_set<std::string> seen;
    sequence('{', '}', "an object", [&] {
      skip_space();
      const std::size_t start = position_;
      std::string key = string();
      const auto [place, fresh] = seen.insert(std::move(key));
      if (!fresh) fail(start, "the name \"" + *place + "\" for the second time", "each name once");
      expect(':', "':'");
      member(*place);
    });
  }

  /// Reads an array, calling element() with the reader in front of each value.
  template <class Element>
  void array(Element&& element) {
    sequence('[', ']', "an array", element);
  }

  /// Reads a string, returned as UTF-8.
  std::string string() {
    expect('"', "a string");
    std::string out;
    while (true) {
      const std::size_t start = position_;
      const char next = peek();
      if (next == '"') break;
      if (next == '\\') {
        ++position_;
        escape(out);
        continue;
      }
      const std::size_t length = detail::utf8_length(text_.substr(position_));
      if (length == 0 || static_cast<unsigned char>(next) < 0x20) fail(start, found(), "UTF-8 text up to a '\"'");
      out += text_.substr(position_, length);
      position_ += length;
    }
    ++position_;
    return out;
  }

  /// Reads a whole number from 0 to 2^64 - 1, without sign, fraction or exponent.
  std::uint64_t whole_number() {
    skip_space();
    const std::size_t start = position_;
    std::size_t end = start;
    while (end < text_.size() && std::string_view("+-.0123456789Ee").find(text_[end]) != std::string_view::npos) ++end;
    const std::string_view digits = text_.substr(start, end - start);
    if (digits.empty()) fail(start, found(), right_number);
    std::uint64_t value = 0;
    const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool leading_zero = digits.size() > 1 && digits[0] == '0';
    if (error != std::errc() || last != digits.data() + digits.size() || leading_zero) {
      fail(start, std::string(digits.substr(0, 40)), right_number);
    }
    position_ = end;
    return value;
  }

  /// Nothing but white space may follow.
  void end() {
    skip_space();
    if (position_ != text_.size()) fail(position_, found(), "the end of the text");
  }

  /// Refuses what was read at the present place.
  [[noreturn]] void refuse(const std::string& what, const std::string& right) const { fail(position_, what, right); }

 private:
  static constexpr const char* right_number = "a whole number from 0 to 18446744073709551615";

  [[noreturn]] void fail(std::size_t at, const std::string& what, const std::string& right) const {
    throw WeightsError(name_ + ": at byte " + std::to_string(at) + " found " + what + "; right would be " + right);
  }

  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  /// The present character, printable whatever it is.
  std::string found() const {
    if (position_ >= text_.size()) return "the end of the text";
    const auto byte = static_cast<unsigned char>(text_[position_]);
    if (byte >= 0x20 && byte < 0x7F) return std::string("'") + text_[position_] + "'";
    constexpr char hex[] = "0123456789abcdef";
    return std::string("byte 0x") + hex[byte >> 4] + hex[byte & 15];
  }

  void skip_space() {
    while (position_ < text_.size() && std::string_view(" \t\n\r").find(text_[position_]) != std::string_view::npos) {
      ++position_;
    }
  }

  bool take(char wanted) {
    skip_space();
    if (position_ >= text_.size() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }

  void expect(char wanted, const char* right) {
    if (!take(wanted)) fail(position_, found(), right);
  }

  template <class Item>
  void sequence(char open, char close, const char* right, Item&& item) {
    expect(open, right);
    if (++depth_ > max_depth) fail(position_, "too many levels", "at most " + std::to_string(max_depth));
    if (!take(close)) {
      do item();
      while (take(','));
      if (!take(close)) fail(position_, found(), std::string("',' or '") + close + "'");
    }
    --depth_;
  }

  /// The four hexadecimal digits of a \u escape.
  std::uint32_t hex4() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(position_, 4);
    const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || last != digits.data() + 4) {
      fail(position_, found(), "four hexadecimal digits");
    }
    position_ += 4;
    return code;
  }

  /// One escape, its backslash already read.
  void escape(std::string& out) {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    const std::size_t start = position_ - 1;
    const char kind = peek();
    if (const auto known = names.find(kind); known != std::string_view::npos) {
      out += values[known];
      ++position_;
      return;
    }
    if (kind != 'u') fail(position_, found(), "one of \" \\ / b f n r t u after '\\'");
    ++position_;
    std::uint32_t code = hex4();
    const bool high = code >= 0xD800 && code < 0xDC00;
    if (high && text_.substr(position_, 2) == "\\u") {
      position_ += 2;
      const std::uint32_t low = hex4();
      if (low >= 0xDC00 && low < 0xE000) code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code < 0xE000) fail(start, "half a surrogate pair", "a whole pair");
    detail::append_utf8(out, code);
  }

  std::string_view text_;
  std::string name_;
  std::size_t position_ = 0;
  int depth_ = 0;
};

/// Whether the text is valid UTF-8.
constexpr bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = detail::utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

/// The text as a JSON string with its quotes. Throws ArgumentError unless it is valid UTF-8.
inline std::string quoted(std::string_view text) {
  if (!is_utf8(text)) throw ArgumentError("a text for JSON is not valid UTF-8; encode it as UTF-8");
  constexpr char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += std::string("\\u00") + hex[byte >> 4] + hex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace ulna::json
