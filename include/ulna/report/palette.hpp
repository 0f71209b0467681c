// SPDX-License-Identifier: MIT
// The colours of pictures and plots.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ulna {

/// A colour, 0..255 each.
struct Rgb {
  std::uint8_t red = 0, green = 0, blue = 0;
  friend constexpr bool operator==(const Rgb&, const Rgb&) = default;
};

/// The colours of a comparison of prediction and truth.
inline constexpr Rgb found_colour{30, 190, 90}, false_alarm_colour{235, 50, 35}, missed_colour{40, 110, 255};

namespace detail {

/// a + share (b - a), rounded; share in 0..1.
constexpr std::uint8_t mix(std::uint8_t a, std::uint8_t b, double share) {
  return static_cast<std::uint8_t>(static_cast<double>(a) * (1 - share) + static_cast<double>(b) * share + 0.5);
}

constexpr Rgb mix(Rgb a, Rgb b, double share) {
  return {mix(a.red, b.red, share), mix(a.green, b.green, share), mix(a.blue, b.blue, share)};
}

}  // namespace detail

/// The colour of the i-th class or curve, from 0 on: those of Okabe and Ito ("Color Universal Design", 2008), which
/// people with any of the common colour-vision deficiencies can tell apart. After seven come the same in darker and in
/// lighter shades, then all of them again.
constexpr Rgb palette_colour(int i) {
  constexpr std::array<Rgb, 7> colours{
      {{230, 159, 0}, {86, 180, 233}, {0, 158, 115}, {240, 228, 66}, {0, 114, 178}, {213, 94, 0}, {204, 121, 167}}};
  const auto index = static_cast<std::size_t>(i < 0 ? 0 : i);
  const Rgb colour = colours[index % colours.size()];
  const std::size_t shade = index / colours.size() % 3;
  if (shade == 1) return detail::mix(colour, Rgb{0, 0, 0}, 0.4);
  if (shade == 2) return detail::mix(colour, Rgb{255, 255, 255}, 0.5);
  return colour;
}

}  // namespace ulna
