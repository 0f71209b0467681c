// SPDX-License-Identifier: MIT
// Only a deeply supervised network has heads to prune to.
// expect: "prune<L, Net>: Net has one head" "DeepSupervision"
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Net = ulna::UNetPlusPlus<ulna::Width<8>, ulna::DeepSupervision<>>;
#else
using Net = ulna::UNetPlusPlus<ulna::Width<8>>;
#endif

static_assert(ulna::Program<ulna::prune<2, Net>, ulna::Image<1, 32, 32>>::classes == 2);
