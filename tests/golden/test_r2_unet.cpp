// SPDX-License-Identifier: MIT
// R2U-Nets against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is). Those
// networks share norm statistics between steps.
#include "golden.hpp"
#include "names.hpp"
#include "networks.hpp"

TEST_CASE("recurrent residual blocks") {
  golden::check_all<golden::RecurrentUNet>("r2unet.safetensors", golden::unet_names(2));
}

TEST_CASE("recurrent residual blocks, attention gates, one class") {
  golden::check_all<golden::GatedRecurrentUNet, ulna::BinaryCrossEntropy>("r2attunet_bce.safetensors",
                                                                          golden::unet_names(1));
}
