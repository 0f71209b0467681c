// SPDX-License-Identifier: MIT
// Includes all that main.cpp includes, so that a function which is not inline breaks the link.
#include "second.hpp"

#include <ulna/data/image_file.hpp>
#include <ulna/ulna.hpp>

std::int64_t parameters_seen_elsewhere() {
  using Net = ulna::UNet<ulna::Classes<2>, ulna::Width<4>, ulna::Depth<1>>;
  return static_cast<std::int64_t>(ulna::Model<ulna::Program<Net, ulna::Image<1, 16, 16>>>{}.parameters().size());
}
