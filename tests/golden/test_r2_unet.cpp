// SPDX-License-Identifier: MIT
// R2U-Nets against golden files computed by PyTorch in double (tests/golden/README.md says what each tensor is). Those
// networks share norm statistics between steps.
#include "golden.hpp"
#include "ulna/model/r2_unet.hpp"
#include "unet_names.hpp"

using namespace ulna;

TEST_CASE("recurrent residual blocks") {
  using Net = R2UNet<Classes<2>, Width<4>, Depth<2>, R2Blocks<recurrent::SharedStatistics>>;
  golden::check_all<Program<Net, Image<3, 48, 48>>>("r2unet.safetensors", golden::unet_names(2));
}

TEST_CASE("recurrent residual blocks, attention gates, one class") {
  using Net = R2AttUNet<Classes<1>, Width<6>, Depth<1>, R2Blocks<recurrent::SharedStatistics>>;
  golden::check_all<Program<Net, Image<1, 32, 48>>, BinaryCrossEntropy>("r2attunet_bce.safetensors",
                                                                        golden::unet_names(1));
}
