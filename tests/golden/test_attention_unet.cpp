// SPDX-License-Identifier: MIT
// An Attention U-Net against a golden file computed by PyTorch in double (tests/golden/README.md says what each tensor
// is).
#include "golden.hpp"
#include "ulna/model/attention_unet.hpp"
#include "unet_names.hpp"

using namespace ulna;

TEST_CASE("gates at the skips' resolution, on all skips") {
  using Net = AttentionUNet<Classes<2>, Width<4>, Depth<3>>;
  golden::check_all<Program<Net, Image<3, 32, 48>>>("attention_unet.safetensors", golden::unet_names(3));
}
