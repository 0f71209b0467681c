// SPDX-License-Identifier: MIT
// An Attention U-Net against a golden file computed by PyTorch in double (tests/golden/README.md says what each tensor
// is).
#include "golden.hpp"
#include "names.hpp"
#include "networks.hpp"

TEST_CASE("gates at the skips' resolution, on all skips") {
  golden::check_all<golden::GatedUNet>("attention_unet.safetensors", golden::unet_names(3));
}
