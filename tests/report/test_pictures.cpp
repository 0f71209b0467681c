// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "ulna/report/canvas.hpp"
#include "ulna/report/contact_sheet.hpp"
#include "ulna/report/curve.hpp"
#include "ulna/report/overlay.hpp"

using namespace ulna::report;
using ulna::PictureArray;

// The fonts that fontconfig keeps until the process ends are no leaks of ours.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libfontconfig\n"; }

namespace {

Rgb pixel(const PictureArray& picture, std::size_t y, std::size_t x) {
  return {picture(y, x, 0), picture(y, x, 1), picture(y, x, 2)};
}

std::size_t count(const PictureArray& picture, Rgb wanted) {
  std::size_t found = 0;
  for (std::size_t y = 0; y < picture.shape(0); ++y) {
    for (std::size_t x = 0; x < picture.shape(1); ++x) found += pixel(picture, y, x) == wanted ? 1 : 0;
  }
  return found;
}

PictureArray plain(std::size_t height, std::size_t width, Rgb colour) {
  auto picture = PictureArray::from_shape({height, width, 3});
  for (std::size_t i = 0; i < picture.size(); i += 3) {
    picture.data()[i] = colour.red;
    picture.data()[i + 1] = colour.green;
    picture.data()[i + 2] = colour.blue;
  }
  return picture;
}

/// Pixels that are clearly blue rather than grey, the mixed edges of lines included.
std::size_t bluish(const PictureArray& picture) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < picture.size(); i += 3) found += picture.data()[i + 2] > picture.data()[i] + 60 ? 1 : 0;
  return found;
}

ulna::ImageArray grey(const std::vector<float>& values, int height, int width, int channels = 1) {
  return ulna::image_from(std::span<const float>(values), height, width, channels);
}

}  // namespace

TEST_CASE("images are stretched from black to white") {
  const auto picture = to_picture(grey({-1, 0, 1}, 1, 3));
  CHECK(pixel(picture, 0, 0) == Rgb{0, 0, 0});
  CHECK(pixel(picture, 0, 1) == Rgb{128, 128, 128});
  CHECK(pixel(picture, 0, 2) == Rgb{255, 255, 255});
  CHECK(pixel(to_picture(grey({7, 7}, 1, 2)), 0, 0) == Rgb{128, 128, 128});
  CHECK(pixel(to_picture(grey({0, 255, 51}, 1, 1, 3)), 0, 0) == Rgb{0, 255, 51});
  CHECK_THROWS_AS(to_picture(grey({std::numeric_limits<float>::infinity()}, 1, 1)), ulna::DataError);
}

TEST_CASE("an overlay shows hits, false alarms and misses") {
  OverlayStyle style;
  style.strength = style.hit_strength = 1;
  const auto image = grey({0, 255, 0, 255}, 1, 4);
  const auto picture = overlay(image, {{1, 1, 0, 0}}, {{1, 0, 1, 0}}, 1, style);
  CHECK(pixel(picture, 0, 0) == style.hit);
  CHECK(pixel(picture, 0, 1) == style.false_alarm);
  CHECK(pixel(picture, 0, 2) == style.miss);
  CHECK(pixel(picture, 0, 3) == Rgb{255, 255, 255});
  const ulna::LabelArray small{{1, 1}}, truth{{1, 0, 1, 0}}, classes{{0, 0, 2, 0}};
  CHECK_THROWS_WITH_AS(overlay(image, small, truth),
                       "overlay: the prediction is 1 x 2, the image 1 x 4; they must agree", ulna::DataError);
  const auto painted = overlay(image, classes, 1.0f);
  CHECK(pixel(painted, 0, 2) == class_colour(2));
  CHECK(pixel(painted, 0, 0) == Rgb{0, 0, 0});
}

TEST_CASE("classes have colours of their own") {
  std::set<std::array<int, 3>> colours;
  for (int label = 0; label < 8; ++label) {
    const Rgb c = class_colour(label);
    colours.insert({c.red, c.green, c.blue});
  }
  CHECK(colours.size() == 8);
  CHECK(pixel(class_picture({{3}}), 0, 0) == class_colour(3));
  CHECK(pixel(mask_picture({{0, 9}}), 0, 1) == Rgb{255, 255, 255});
}

TEST_CASE("a canvas gives back what was drawn on it, channels in order") {
  Canvas canvas(20, 10, Rgb{1, 2, 3});
  canvas.fill_box(5, 2, 4, 3, Rgb{200, 100, 50});
  const auto picture = canvas.to_picture();
  CHECK(picture.shape(0) == 10);
  CHECK(picture.shape(1) == 20);
  CHECK(pixel(picture, 0, 0) == Rgb{1, 2, 3});
  CHECK(pixel(picture, 2, 5) == Rgb{200, 100, 50});
  CHECK(count(picture, Rgb{200, 100, 50}) == 12);
  canvas.text(2, 8, "x", 8, colour::ink);
  CHECK(canvas.to_picture() != picture);
  CHECK_THROWS_AS(Canvas(0, 5), ulna::ArgumentError);
  CHECK_THROWS_AS(Canvas(5, 1'000'000), ulna::ArgumentError);
}

TEST_CASE("a contact sheet puts every picture in its place") {
  ContactSheet sheet({"a", "b"}, overlay_legend(), {.panel = 32, .padding = 4, .text = 10});
  sheet.add_row("first", {plain(8, 8, Rgb{255, 0, 0}), plain(64, 32, Rgb{0, 255, 0})});
  sheet.add_row("second", {plain(32, 32, Rgb{0, 0, 255}), plain(32, 32, Rgb{9, 9, 9})});
  const auto picture = sheet.render();
  CHECK(picture.shape(1) == 4 + 2 * 36);
  CHECK(count(picture, Rgb{255, 0, 0}) == 32 * 32);  // enlarged to the panel
  CHECK(count(picture, Rgb{0, 255, 0}) >= 14 * 30);  // shrunk to 16 x 32, its edges mixed with the ground
  CHECK(count(picture, Rgb{0, 255, 0}) <= 16 * 32);
  CHECK(count(picture, Rgb{0, 0, 255}) == 32 * 32);
  CHECK(count(picture, Rgb{9, 9, 9}) == 32 * 32);
  CHECK_THROWS_AS(sheet.add_row("third", {plain(8, 8, {})}), ulna::ArgumentError);
}

TEST_CASE("ticks are round and inside") {
  using ulna::report::detail::round_ticks;
  CHECK(round_ticks({0, 1200}, 8) == std::vector<double>{0, 200, 400, 600, 800, 1000, 1200});
  const auto ticks = round_ticks({0.013, 0.0171}, 4);
  REQUIRE(ticks.size() == 2);  // steps of 0.001 would make more than 4
  CHECK(ticks[0] == doctest::Approx(0.014));
  CHECK(ticks[1] == doctest::Approx(0.016));
  for (const double span : {1e-9, 0.3, 1.0, 7.7, 1e6}) {
    const auto any = round_ticks({-span / 3, span}, 6);
    CHECK(any.size() >= 3);
    CHECK(any.size() <= 9);
    CHECK(any.front() >= -span / 3 * 1.000001);
    CHECK(any.back() <= span * 1.000001);
  }
}

TEST_CASE("a chart draws its lines, whatever the values") {
  Chart chart{.title = "t", .x_label = "x", .y_label = "y", .series = {{"a", {0, 1, 2}, {1, 0.5, 0.25}}}};
  const auto picture = render(chart);
  CHECK(picture.shape(0) == 480);
  CHECK(picture.shape(1) == 800);
  CHECK(count(picture, colour::blue) > 500);
  chart.series[0].y[1] = std::numeric_limits<double>::quiet_NaN();  // a gap: two dots remain
  const auto dots = render(chart);
  CHECK(count(dots, colour::blue) < 50);
  CHECK(bluish(dots) > 4);
  chart.series[0].y = {NAN, NAN, NAN};
  CHECK(bluish(render(chart)) == 0);
  chart.series[0].y = {0.1, 0, 10};
  chart.logarithmic = true;
  CHECK_NOTHROW(render(chart));
  chart.series[0] = {"constant", {5}, {0}};
  CHECK_NOTHROW(render(chart));
  chart.series.clear();
  CHECK_NOTHROW(render(chart));
  chart.series = {{"uneven", {1, 2}, {1}}};
  CHECK_THROWS_AS(render(chart), ulna::ArgumentError);
}

TEST_CASE("smoothing keeps a constant and calms a jump") {
  for (const double value : smoothed({3, 3, 3, 3}, 0.9)) CHECK(value == doctest::Approx(3));
  const auto jump = smoothed({0, 0, 0, 1}, 0.9);
  CHECK(jump[3] > 0.1);
  CHECK(jump[3] < 0.4);
}
