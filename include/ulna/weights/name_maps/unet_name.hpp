// SPDX-License-Identifier: MIT
// The parts of a parameter's name in a U-Net: what name maps are made of.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace ulna::name_maps::detail {

/// `encoder.3.conv1.weight` -> encoder, 3, `conv1.weight`. The bottleneck is the encoder's level `depth`.
struct UNetName {
  enum class Part : unsigned char { encoder, decoder, head, unknown };
  Part part = Part::unknown;
  int level = 0;
  std::string rest;
};

inline UNetName unet_name(std::string_view name, int depth) {
  const auto after = [name](std::size_t n) { return std::string(name.substr(n)); };
  if (name.starts_with("bottleneck.")) return {UNetName::Part::encoder, depth, after(11)};
  if (name.starts_with("head.")) return {UNetName::Part::head, 0, after(5)};
  const bool encoder = name.starts_with("encoder.");
  if (!encoder && !name.starts_with("decoder.")) return {};
  const auto part = encoder ? UNetName::Part::encoder : UNetName::Part::decoder;
  return {part, name[8] - '0', after(10)};  // Depth is at most 8: one digit
}

/// The text with its first component replaced: `conv1.weight` -> `block.0.weight`.
inline std::string renamed(const std::string& rest,
                           std::initializer_list<std::pair<std::string_view, std::string_view>> names) {
  const std::size_t dot = rest.find('.');
  for (const auto& [from, to] : names)
    if (rest.substr(0, dot) == from) return std::string(to) + rest.substr(dot);
  return rest;
}

}  // namespace ulna::name_maps::detail
