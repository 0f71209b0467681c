// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/weights/model_file.hpp"
#include "ulna/weights/name_maps/unet_name.hpp"

namespace ulna::name_maps {

/// jvanvugt/pytorch-unet without batch norm, whose `depth` counts levels and is one more than ours; for JvanvugtUNet<>.
/// (With batch norm that code normalises after the ReLU, which is another network.)
inline NameMap jvanvugt(int depth = 4) {
  return [depth](const std::string& name) -> std::string {
    using Part = detail::UNetName::Part;
    const auto n = detail::unet_name(name, depth);
    switch (n.part) {
      case Part::encoder:
        return "down_path." + std::to_string(n.level) + ".block." +
               detail::renamed(n.rest, {{"conv1", "0"}, {"conv2", "2"}});
      case Part::decoder:
        return "up_path." + std::to_string(depth - 1 - n.level) + "." +
               detail::renamed(n.rest, {{"conv1", "conv_block.block.0"}, {"conv2", "conv_block.block.2"}});
      case Part::head:
        return "last." + n.rest;
      default:
        return name;
    }
  };
}

}  // namespace ulna::name_maps
