// SPDX-License-Identifier: MIT
// A grid of pictures with captions: image | truth | prediction | overlay, a row an image.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"
#include "ulna/report/canvas.hpp"
#include "ulna/report/overlay.hpp"

namespace ulna::report {

/// An entry of a legend.
struct LegendEntry {
  std::string text;
  Rgb colour;
};

/// The legend of overlay().
inline std::vector<LegendEntry> overlay_legend(const OverlayStyle& style = {}) {
  return {{"hit", style.hit}, {"false alarm", style.false_alarm}, {"miss", style.miss}};
}

/// How a contact sheet looks, in pixels.
struct ContactSheetStyle {
  int panel = 256;   ///< side of the square each picture is fitted into
  int padding = 10;  ///< between pictures and about the sheet
  double text = 15;
};

namespace detail {

/// A line of coloured squares with words, ending at x.
inline void draw_legend(Canvas& canvas, const std::vector<LegendEntry>& legend, double right, double baseline,
                        double size) {
  for (auto entry = legend.rbegin(); entry != legend.rend(); ++entry) {
    right -= canvas.text_width(entry->text, size);
    canvas.text(right, baseline, entry->text, size);
    right -= 1.4 * size;
    canvas.fill_box(right, baseline - 0.8 * size, size, size, entry->colour);
    right -= 1.2 * size;
  }
}

}  // namespace detail

/// Collects rows of pictures and draws them on one sheet.
class ContactSheet {
 public:
  /// `columns` are the headings; each row has as many pictures.
  explicit ContactSheet(std::vector<std::string> columns, std::vector<LegendEntry> legend = {},
                        const ContactSheetStyle& style = {})
      : columns_(std::move(columns)), legend_(std::move(legend)), style_(style) {
    if (columns_.empty() || style.panel < 16 || style.padding < 0 || !(style.text >= 4)) {
      throw ArgumentError("a contact sheet has at least one column, panels of 16 pixels and text of 4 pixels");
    }
  }

  /// Adds a row. Throws ArgumentError unless it has one picture for each column.
  void add_row(std::string caption, std::vector<PictureArray> pictures) {
    if (pictures.size() != columns_.size()) {
      throw ArgumentError("contact sheet: row \"" + caption + "\" has " + std::to_string(pictures.size()) +
                          " pictures for " + std::to_string(columns_.size()) + " columns");
    }
    rows_.emplace_back(std::move(caption), std::move(pictures));
  }

  /// The sheet, (height, width, 3).
  PictureArray render() const {
    const int line = static_cast<int>(2 * style_.text), step = style_.panel + style_.padding;
    const int width = style_.padding + static_cast<int>(columns_.size()) * step;
    const int row_height = step + line;
    const int foot = legend_.empty() ? 0 : line;
    const int height = style_.padding + line + static_cast<int>(rows_.size()) * row_height + foot;
    Canvas canvas(width, height);
    const auto left = [&](std::size_t column) { return style_.padding + static_cast<int>(column) * step; };
    const double heading = style_.padding + style_.text;
    for (std::size_t k = 0; k < columns_.size(); ++k) {
      canvas.text(left(k), heading, columns_[k], style_.text, colour::ink, Align::Left, true);
    }
    int top = style_.padding + line - static_cast<int>(style_.text / 2);
    for (const auto& [caption, pictures] : rows_) {
      for (std::size_t k = 0; k < pictures.size(); ++k) {
        canvas.fill_box(left(k), top, style_.panel, style_.panel, Rgb{238, 240, 243});
        canvas.picture(pictures[k], left(k), top, style_.panel, style_.panel);
      }
      canvas.text(left(0), top + style_.panel + 1.3 * style_.text, caption, style_.text, colour::grey);
      top += row_height;
    }
    detail::draw_legend(canvas, legend_, width - style_.padding, height - style_.text, style_.text);
    return canvas.to_picture();
  }

 private:
  std::vector<std::string> columns_;
  std::vector<LegendEntry> legend_;
  ContactSheetStyle style_;
  std::vector<std::pair<std::string, std::vector<PictureArray>>> rows_;
};

}  // namespace ulna::report
