// SPDX-License-Identifier: MIT
// Patches of the image give no skips.
// expect: "a hybrid encoder has one skip for each stage of Units; patches of the image have none"
#include <ulna/model/trans_unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Encoder = ulna::encoder::Hybrid;
#else
using Encoder = ulna::encoder::Patches<>;
#endif

static_assert(ulna::Program<ulna::TransUNet<Encoder, ulna::Skips<2>>, ulna::Image<1, 224, 224>>::classes == 9);
