// SPDX-License-Identifier: MIT
// A sheet to draw on, through cairo. Part of the optional component ulna::report.
#pragma once

#include <cairo.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"
#include "ulna/report/overlay.hpp"

namespace ulna::report {

/// Where a text lies about its point.
enum class Align { Left, Centre, Right };

/// A picture being drawn, in pixels from the top left, (x, y). Throws ArgumentError for an impossible size.
class Canvas {
 public:
  Canvas(int width, int height, Rgb background = colour::paper)
      : surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height), &cairo_surface_destroy),
        cairo_(cairo_create(surface_.get()), &cairo_destroy) {
    if (width < 1 || height < 1 || cairo_status(cairo_.get()) != CAIRO_STATUS_SUCCESS) {
      throw ArgumentError("a picture of " + std::to_string(width) + " x " + std::to_string(height) +
                          " pixels cannot be drawn: " + cairo_status_to_string(cairo_status(cairo_.get())));
    }
    ink(background);
    cairo_paint(cairo_.get());
  }

  void fill_box(double x, double y, double width, double height, Rgb colour) {
    ink(colour);
    cairo_rectangle(cairo_.get(), x, y, width, height);
    cairo_fill(cairo_.get());
  }

  void line(double x0, double y0, double x1, double y1, Rgb colour, double thickness = 1) {
    move_to(x0, y0);
    line_to(x1, y1);
    stroke(colour, thickness);
  }

  /// A path: move_to, line_to ..., stroke.
  void move_to(double x, double y) { cairo_move_to(cairo_.get(), x, y); }
  void line_to(double x, double y) { cairo_line_to(cairo_.get(), x, y); }
  void stroke(Rgb colour, double thickness) {
    ink(colour);
    cairo_set_line_width(cairo_.get(), thickness);
    cairo_set_line_join(cairo_.get(), CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(cairo_.get(), CAIRO_LINE_CAP_ROUND);
    cairo_stroke(cairo_.get());
  }

  /// Nothing is drawn outside this box until unclip().
  void clip(double x, double y, double width, double height) {
    cairo_save(cairo_.get());
    cairo_rectangle(cairo_.get(), x, y, width, height);
    cairo_clip(cairo_.get());
  }
  void unclip() { cairo_restore(cairo_.get()); }

  /// The width of a text of that size (height of a line, pixels).
  double text_width(const std::string& text, double size, bool bold = false) {
    font(size, bold);
    cairo_text_extents_t extents;
    cairo_text_extents(cairo_.get(), text.c_str(), &extents);
    return extents.x_advance;
  }

  /// A line of UTF-8 text, its baseline at y.
  void text(double x, double y, const std::string& text, double size, Rgb colour = colour::ink,
            Align align = Align::Left, bool bold = false) {
    const double width = text_width(text, size, bold);
    const double left = align == Align::Left ? x : align == Align::Centre ? x - width / 2 : x - width;
    ink(colour);
    cairo_move_to(cairo_.get(), std::round(left), std::round(y));
    cairo_show_text(cairo_.get(), text.c_str());
    cairo_new_path(cairo_.get());
  }

  /// A line of text upwards, its baseline at x, centred on y.
  void text_upwards(double x, double y, const std::string& words, double size, Rgb colour = colour::ink) {
    cairo_save(cairo_.get());
    cairo_translate(cairo_.get(), x, y);
    cairo_rotate(cairo_.get(), -std::acos(0.0));
    text(0, 0, words, size, colour, Align::Centre);
    cairo_restore(cairo_.get());
  }

  /// A picture scaled into a box, keeping its proportions, centred. Enlarged pixels stay squares.
  void picture(const PictureArray& rgb, double x, double y, double width, double height) {
    Canvas source = from(rgb);
    const double scale =
        std::min(width / static_cast<double>(rgb.shape(1)), height / static_cast<double>(rgb.shape(0)));
    cairo_save(cairo_.get());
    cairo_translate(cairo_.get(), x + (width - scale * static_cast<double>(rgb.shape(1))) / 2,
                    y + (height - scale * static_cast<double>(rgb.shape(0))) / 2);
    cairo_scale(cairo_.get(), scale, scale);
    cairo_set_source_surface(cairo_.get(), source.surface_.get(), 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cairo_.get()), scale > 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
    cairo_paint(cairo_.get());
    cairo_restore(cairo_.get());
  }

  /// What was drawn, (height, width, 3).
  PictureArray to_picture() {
    cairo_surface_flush(surface_.get());
    const auto width = static_cast<std::size_t>(cairo_image_surface_get_width(surface_.get()));
    const auto height = static_cast<std::size_t>(cairo_image_surface_get_height(surface_.get()));
    auto rgb = PictureArray::from_shape({height, width, 3});
    for (std::size_t y = 0; y < height; ++y) {
      for (std::size_t x = 0; x < width; ++x) {
        std::uint32_t pixel = 0;  // 0x00RRGGBB in the machine's byte order
        std::memcpy(&pixel, pixel_at(y, x), sizeof pixel);
        rgb(y, x, 0) = static_cast<std::uint8_t>(pixel >> 16 & 0xFF);
        rgb(y, x, 1) = static_cast<std::uint8_t>(pixel >> 8 & 0xFF);
        rgb(y, x, 2) = static_cast<std::uint8_t>(pixel & 0xFF);
      }
    }
    return rgb;
  }

 private:
  static Canvas from(const PictureArray& rgb) {
    if (rgb.shape(2) != 3) {
      throw DataError("a picture to be drawn is " + ulna::detail::size_text(rgb) + "; it must have 3 channels");
    }
    Canvas canvas(static_cast<int>(rgb.shape(1)), static_cast<int>(rgb.shape(0)));
    cairo_surface_flush(canvas.surface_.get());
    for (std::size_t y = 0; y < rgb.shape(0); ++y) {
      for (std::size_t x = 0; x < rgb.shape(1); ++x) {
        const std::uint32_t pixel = std::uint32_t{rgb(y, x, 0)} << 16 | std::uint32_t{rgb(y, x, 1)} << 8 | rgb(y, x, 2);
        std::memcpy(canvas.pixel_at(y, x), &pixel, sizeof pixel);
      }
    }
    cairo_surface_mark_dirty(canvas.surface_.get());
    return canvas;
  }

  unsigned char* pixel_at(std::size_t y, std::size_t x) {
    const auto stride = static_cast<std::size_t>(cairo_image_surface_get_stride(surface_.get()));
    return cairo_image_surface_get_data(surface_.get()) + y * stride + 4 * x;
  }

  void ink(Rgb colour) {
    cairo_set_source_rgb(cairo_.get(), colour.red / 255.0, colour.green / 255.0, colour.blue / 255.0);
  }

  void font(double size, bool bold) {
    cairo_select_font_face(cairo_.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo_.get(), size);
  }

  std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface_;
  std::unique_ptr<cairo_t, void (*)(cairo_t*)> cairo_;
};

}  // namespace ulna::report
