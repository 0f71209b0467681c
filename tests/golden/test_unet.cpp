// SPDX-License-Identifier: MIT
// U-Nets against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is).
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "golden.hpp"
#include "ulna/model/unet.hpp"

using namespace ulna;

namespace {

/// The golden models number levels from the top and decoder stages from the bottom.
std::string golden_name(const std::string& name, int depth) {
  if (name.starts_with("bottleneck.")) return "enc." + std::to_string(depth) + name.substr(10);
  if (name.starts_with("encoder.")) return "enc" + name.substr(7);
  if (!name.starts_with("decoder.")) return name;
  const int level = name[8] - '0';
  const std::string rest = name.substr(9);
  return "dec." + std::to_string(depth - 1 - level) + (rest.starts_with(".up.") ? rest : ".block" + rest);
}

}  // namespace

TEST_CASE("same padding, batch norm, transposed convolutions") {
  using Net = UNet<Classes<2>, Width<4>, Depth<3>>;
  golden::check_all<Program<Net, Image<1, 32, 48>>>("unet_bn_transpose.safetensors",
                                                    [](const std::string& n) { return golden_name(n, 3); });
}

TEST_CASE("valid convolutions, no norm: the 2015 U-Net") {
  using Net = UNet<Classes<2>, Width<6>, Depth<2>, padding::Valid, norm::None, skip::ConcatUpFirst>;
  golden::check_all<Program<Net, Image<1, 60, 44>>>("unet_valid_nonorm.safetensors",
                                                    [](const std::string& n) { return golden_name(n, 2); });
}

TEST_CASE("odd extents: halving drops a row, and what comes up is padded") {
  using Net = UNet<Classes<2>, Width<4>, Depth<2>, odd::Pad>;
  golden::check_all<Program<Net, Image<3, 37, 29>>>("unet_bn_transpose_odd.safetensors",
                                                    [](const std::string& n) { return golden_name(n, 2); });
}
