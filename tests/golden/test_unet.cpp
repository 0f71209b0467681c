// SPDX-License-Identifier: MIT
// U-Nets against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is).
#include "golden.hpp"
#include "ulna/model/unet.hpp"
#include "unet_names.hpp"

using namespace ulna;

TEST_CASE("same padding, batch norm, transposed convolutions") {
  using Net = UNet<Classes<2>, Width<4>, Depth<3>>;
  golden::check_all<Program<Net, Image<1, 32, 48>>>("unet_bn_transpose.safetensors", golden::unet_names(3));
}

TEST_CASE("valid convolutions, no norm: the 2015 U-Net") {
  using Net = UNet<Classes<2>, Width<6>, Depth<2>, padding::Valid, norm::None, skip::ConcatUpFirst>;
  golden::check_all<Program<Net, Image<1, 60, 44>>>("unet_valid_nonorm.safetensors", golden::unet_names(2));
}

TEST_CASE("odd extents: halving drops a row, and what comes up is padded") {
  using Net = UNet<Classes<2>, Width<4>, Depth<2>, odd::Pad>;
  golden::check_all<Program<Net, Image<3, 37, 29>>>("unet_bn_transpose_odd.safetensors", golden::unet_names(2));
}
