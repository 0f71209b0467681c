// SPDX-License-Identifier: MIT
#pragma once

#include "ulna/weights/model_file.hpp"
#include "ulna/weights/name_maps/unet_name.hpp"

namespace ulna::name_maps {

/// milesial/Pytorch-UNet, transposed and bilinear; for MilesialUNet<> and MilesialBilinearUNet<>. That code has depth
/// 4; for other depths its scheme goes on.
inline NameMap milesial(int depth = 4) {
  return [depth](const std::string& name) -> std::string {
    using Part = detail::UNetName::Part;
    const auto n = detail::unet_name(name, depth);
    const std::string block = detail::renamed(n.rest, {{"conv1", "double_conv.0"},
                                                       {"norm1", "double_conv.1"},
                                                       {"conv2", "double_conv.3"},
                                                       {"norm2", "double_conv.4"}});
    switch (n.part) {
      case Part::encoder:
        return n.level == 0 ? "inc." + block : "down" + std::to_string(n.level) + ".maxpool_conv.1." + block;
      case Part::decoder:
        return "up" + std::to_string(depth - n.level) + (n.rest.starts_with("up.") ? "." : ".conv.") + block;
      case Part::head:
        return "outc.conv." + n.rest;
      default:
        return name;
    }
  };
}

}  // namespace ulna::name_maps
