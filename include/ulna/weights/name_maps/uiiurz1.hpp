// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/weights/model_file.hpp"
#include "ulna/weights/name_maps/unet_name.hpp"

namespace ulna::name_maps {

namespace detail {

/// The block of that code at a level and a column, or `name` where its blocks have no such layer.
inline std::string uiiurz1_block(const std::string& name, int level, int column, const std::string& rest) {
  if (!rest.starts_with("conv") && !rest.starts_with("norm")) return name;
  return "conv" + std::to_string(level) + "_" + std::to_string(column) + "." +
         renamed(rest, {{"norm1", "bn1"}, {"norm2", "bn2"}});
}

}  // namespace detail

/// 4uiiurz1/pytorch-nested-unet: UNet, for Uiiurz1UNet<>, and NestedUNet with and without deep supervision, for
/// Uiiurz1NestedUNet<> and networks pruned from it. That code has depth 4; for other depths its scheme goes on.
inline NameMap uiiurz1(int depth = 4) {
  return [depth](const std::string& name) -> std::string {
    // level.I.node.J: one digit each, since Depth is at most 6
    if (name.starts_with("level.") && name.compare(7, 6, ".node.") == 0)
      return detail::uiiurz1_block(name, name[6] - '0', name[13] - '0', name.substr(15));
    using Part = detail::UNetName::Part;
    const auto n = detail::unet_name(name, depth);
    switch (n.part) {
      case Part::encoder:
        return detail::uiiurz1_block(name, n.level, 0, n.rest);
      case Part::decoder:
        return detail::uiiurz1_block(name, n.level, depth - n.level, n.rest);
      case Part::head:  // final.weight; with deep supervision final1.weight, final2.weight, ...
        return (n.rest[0] >= '1' && n.rest[0] <= '9' ? "final" : "final.") + n.rest;
      default:
        return name;
    }
  };
}

}  // namespace ulna::name_maps
