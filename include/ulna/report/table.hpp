// SPDX-License-Identifier: MIT
// Tables of text, aligned for a terminal or as Markdown.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ulna/error.hpp"

namespace ulna::report {

/// A table with headings. The first column is aligned left, the others, numbers mostly, right.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) : headings_(std::move(headings)) {
    if (headings_.empty()) throw ArgumentError("a table has at least one column");
  }

  /// Adds a row. Throws ArgumentError unless it has one cell for each heading.
  void add_row(std::vector<std::string> cells) {
    if (cells.size() != headings_.size()) {
      throw ArgumentError("table: a row of " + std::to_string(cells.size()) + " cells for " +
                          std::to_string(headings_.size()) + " columns");
    }
    rows_.push_back(std::move(cells));
  }

  /// Aligned columns, two spaces apart, a rule under the headings.
  std::string text() const {
    const auto widths = column_widths(0);
    std::string rule;
    for (std::size_t k = 0; k < widths.size(); ++k) {
      rule += k == 0 ? "" : "  ";
      for (std::size_t i = 0; i < widths[k]; ++i) rule += "─";
    }
    std::string out = line(headings_, widths, "", "  ", "") + rule + "\n";
    for (const auto& row : rows_) out += line(row, widths, "", "  ", "");
    return out;
  }

  /// A table in Markdown, readable as it is.
  std::string markdown() const {
    const auto widths = column_widths(3);
    std::string rule = "|";
    for (std::size_t k = 0; k < widths.size(); ++k) {
      rule += (k == 0 ? " :" : " ") + std::string(widths[k] - 1, '-') + (k == 0 ? " |" : ": |");
    }
    std::string out = line(headings_, widths, "| ", " | ", " |") + rule + "\n";
    for (const auto& row : rows_) out += line(row, widths, "| ", " | ", " |");
    return out;
  }

 private:
  /// Characters, not bytes: UTF-8 continuation bytes take no room.
  static std::size_t width(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }

  std::vector<std::size_t> column_widths(std::size_t least) const {
    std::vector<std::size_t> widths(headings_.size(), least);
    const auto fit = [&](const std::vector<std::string>& cells) {
      for (std::size_t k = 0; k < cells.size(); ++k) widths[k] = std::max(widths[k], width(cells[k]));
    };
    fit(headings_);
    for (const auto& row : rows_) fit(row);
    return widths;
  }

  static std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths,
                          const char* open, const char* between, const char* close) {
    std::string out = open;
    for (std::size_t k = 0; k < cells.size(); ++k) {
      const std::string room(widths[k] - width(cells[k]), ' ');
      out += (k == 0 ? "" : between) + (k == 0 ? cells[k] + room : room + cells[k]);
    }
    out += close;
    out.erase(out.find_last_not_of(' ') + 1);
    return out + "\n";
  }

  std::vector<std::string> headings_;
  std::vector<std::vector<std::string>> rows_;
};

/// A number with that many decimals: fixed(0.07268, 4) is "0.0727".
inline std::string fixed(double value, int decimals) {
  std::string text(64, '\0');
  const int length = std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  text.resize(static_cast<std::size_t>(std::clamp(length, 0, 63)));
  return text;
}

}  // namespace ulna::report
