// SPDX-License-Identifier: MIT
// Line charts, such as the loss over the steps of a training.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "ulna/data/image.hpp"
#include "ulna/error.hpp"
#include "ulna/report/canvas.hpp"

namespace ulna::report {

/// A line of a chart.
struct Series {
  std::string name;
  std::vector<double> x, y;  ///< as long as each other; points that are not finite are left out
  bool faint = false;        ///< thin and pale: raw values behind their smoothed line
};

/// A chart of lines over common axes.
struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool logarithmic = false;  ///< the y axis; points of 0 and below are left out
  int width = 800, height = 480;
};

/// Exponential moving average, its start corrected for the missing past: of a noisy loss, `keep` near 1 is smoother.
inline std::vector<double> smoothed(const std::vector<double>& values, double keep = 0.95) {
  std::vector<double> out;
  double sum = 0, weight = 0;
  for (const double value : values) {
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    out.push_back(sum / weight);
  }
  return out;
}

namespace detail {

struct Interval {
  double low = 0, high = 1;
};

/// Round numbers (1, 2 or 5 times a power of ten apart) within the interval, about `wanted` of them.
inline std::vector<double> round_ticks(Interval interval, int wanted) {
  const double rough = (interval.high - interval.low) / wanted, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= rough * 0.999) step = factor * power;
  }
  std::vector<double> ticks;
  const double slack = 1e-9 * step;
  for (double k = std::ceil((interval.low - slack) / step); k * step <= interval.high + slack; ++k) {
    ticks.push_back(k * step);
  }
  return ticks;
}

/// Logarithms of ticks for an axis of logarithms: powers of ten, with numbers between when these are few.
inline std::vector<double> log_ticks(Interval interval) {
  std::vector<double> ticks;
  const double decades = interval.high - interval.low;
  const std::vector<double> factors = decades > 2   ? std::vector<double>{1}
                                      : decades > 1 ? std::vector<double>{1, 2, 5}
                                                    : std::vector<double>{1, 1.5, 2, 3, 4, 5, 7};
  for (double power = std::floor(interval.low); power <= interval.high; ++power) {
    for (const double factor : factors) {
      const double tick = power + std::log10(factor);
      if (tick >= interval.low && tick <= interval.high) ticks.push_back(tick);
    }
  }
  return ticks;
}

inline std::string tick_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text.data();
}

/// Draws one chart; the members are its layout.
class ChartPainter {
 public:
  explicit ChartPainter(const Chart& chart)
      : chart_(chart),
        canvas_(chart.width, chart.height),
        top_(chart.title.empty() ? 24 : 52),
        bottom_(chart.height - (chart.x_label.empty() ? 36 : 58)),
        right_(chart.width - 24) {
    fit_axes();
  }

  PictureArray paint() {
    draw_grid();
    canvas_.clip(left_ - 1, top_ - 1, right_ - left_ + 2, bottom_ - top_ + 2);
    for (std::size_t i = 0; i < chart_.series.size(); ++i) draw_line(chart_.series[i], i);
    canvas_.unclip();
    draw_names();
    return canvas_.to_picture();
  }

 private:
  static constexpr double text_size = 14;

  double y_value(double y) const { return chart_.logarithmic ? std::log10(y) : y; }
  bool shown(double x, double y) const { return std::isfinite(x) && std::isfinite(y_value(y)); }
  double to_x(double x) const { return left_ + (x - x_.low) / (x_.high - x_.low) * (right_ - left_); }
  double to_y(double y) const { return bottom_ - (y - y_.low) / (y_.high - y_.low) * (bottom_ - top_); }

  /// The ranges of the values, never empty, with some air above and below; then room for the numbers on the left.
  void fit_axes() {
    x_ = y_ = {HUGE_VAL, -HUGE_VAL};
    const auto include = [](Interval& interval, double value) {
      interval = {std::min(interval.low, value), std::max(interval.high, value)};
    };
    for (const Series& series : chart_.series) {
      if (series.x.size() != series.y.size()) {
        throw ArgumentError("chart: series \"" + series.name + "\" has " + std::to_string(series.x.size()) + " x and " +
                            std::to_string(series.y.size()) + " y; there must be as many");
      }
      for (std::size_t i = 0; i < series.x.size(); ++i) {
        if (!shown(series.x[i], series.y[i])) continue;
        include(x_, series.x[i]);
        include(y_, y_value(series.y[i]));
      }
    }
    if (x_.low > x_.high) x_ = y_ = {0, 1};
    if (x_.low == x_.high) x_ = {x_.low - 0.5, x_.high + 0.5};
    const double air = y_.low == y_.high ? std::max(0.5, std::abs(y_.low) * 0.1) : 0.04 * (y_.high - y_.low);
    const bool from_zero = !chart_.logarithmic && y_.low >= 0 && y_.low < 0.4 * y_.high;
    y_ = {from_zero ? 0 : y_.low - air, y_.high + air};
    y_ticks_ = chart_.logarithmic ? log_ticks(y_) : round_ticks(y_, 6);
    double widest = 0;
    for (const double tick : y_ticks_) widest = std::max(widest, canvas_.text_width(y_text(tick), text_size));
    left_ = widest + (chart_.y_label.empty() ? 24 : 50);
  }

  std::string y_text(double tick) const { return tick_text(chart_.logarithmic ? std::pow(10.0, tick) : tick); }

  void draw_grid() {
    constexpr Rgb faint{228, 231, 235};
    for (const double tick : y_ticks_) {
      const double y = std::round(to_y(tick)) + 0.5;
      canvas_.line(left_, y, right_, y, faint);
      canvas_.text(left_ - 10, y + 0.35 * text_size, y_text(tick), text_size, colour::grey, Align::Right);
    }
    for (const double tick : round_ticks(x_, 8)) {
      const double x = std::round(to_x(tick)) + 0.5;
      canvas_.line(x, bottom_, x, bottom_ + 5, colour::grey);
      canvas_.text(x, bottom_ + 10 + text_size, tick_text(tick), text_size, colour::grey, Align::Centre);
    }
    canvas_.line(left_, bottom_ + 0.5, right_, bottom_ + 0.5, colour::grey);
  }

  static Rgb series_colour(std::size_t index, bool faint) {
    constexpr std::array colours{colour::blue, colour::orange, colour::green, colour::pink, colour::sky, colour::red};
    const Rgb full = colours[index % colours.size()];
    std::array<std::uint8_t, 3> pixel{full.red, full.green, full.blue};
    if (faint) blend(pixel.data(), colour::paper, 0.7f);
    return {pixel[0], pixel[1], pixel[2]};
  }

  void draw_line(const Series& series, std::size_t index) {
    const Rgb colour = series_colour(index, series.faint);
    bool open = false;
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!shown(series.x[i], series.y[i])) {
        open = false;
        continue;
      }
      const double x = to_x(series.x[i]), y = to_y(y_value(series.y[i]));
      if (open) {
        canvas_.line_to(x, y);
      } else {
        canvas_.move_to(x, y);
        canvas_.line_to(x, y);  // a point alone is a dot
      }
      open = true;
    }
    canvas_.stroke(colour, series.faint ? 1 : 2.4);
  }

  void draw_names() {
    canvas_.text(left_, 32, chart_.title, 19, colour::ink, Align::Left, true);
    if (!chart_.x_label.empty()) {
      canvas_.text((left_ + right_) / 2, chart_.height - 12, chart_.x_label, text_size, colour::ink, Align::Centre);
    }
    if (!chart_.y_label.empty()) canvas_.text_upwards(22, (top_ + bottom_) / 2, chart_.y_label, text_size);
    if (chart_.series.size() < 2) return;
    double widest = 0;
    for (const Series& series : chart_.series) widest = std::max(widest, canvas_.text_width(series.name, text_size));
    const double line = 1.6 * text_size, width = widest + 52;
    const double x = right_ - width - 8, height = line * static_cast<double>(chart_.series.size()) + 10;
    canvas_.fill_box(x, top_ + 8, width, height, colour::paper);
    for (std::size_t i = 0; i < chart_.series.size(); ++i) {
      const double y = top_ + 8 + line * (static_cast<double>(i) + 0.65) + 5;
      const bool faint = chart_.series[i].faint;
      canvas_.line(x + 10, y, x + 34, y, series_colour(i, faint), faint ? 1.5 : 2.6);
      canvas_.text(x + 42, y + 0.35 * text_size, chart_.series[i].name, text_size);
    }
  }

  const Chart& chart_;
  Canvas canvas_;
  Interval x_, y_;
  std::vector<double> y_ticks_;
  double left_ = 0, top_, bottom_, right_;
};

}  // namespace detail

/// Draws a chart, (height, width, 3). Throws ArgumentError when a series has not as many x as y.
inline PictureArray render(const Chart& chart) { return detail::ChartPainter(chart).paint(); }

}  // namespace ulna::report
