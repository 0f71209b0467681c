// SPDX-License-Identifier: MIT
// U-Nets against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is).
#include "golden.hpp"
#include "names.hpp"
#include "networks.hpp"

TEST_CASE("same padding, batch norm, transposed convolutions") {
  golden::check_all<golden::SameUNet>("unet_bn_transpose.safetensors", golden::unet_names(3));
}

TEST_CASE("valid convolutions, no norm: the 2015 U-Net") {
  golden::check_all<golden::ValidUNet>("unet_valid_nonorm.safetensors", golden::unet_names(2));
}

TEST_CASE("odd extents: halving drops a row, and what comes up is padded") {
  golden::check_all<golden::OddUNet>("unet_bn_transpose_odd.safetensors", golden::unet_names(2));
}
