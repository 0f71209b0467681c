// SPDX-License-Identifier: MIT
// A row of patches that does not end at the edge.
// expect: "TransUNet/patches" "width 40 is not divisible into patches of 16" "multiple of 16: 32 or 48 instead of 40"
#include <ulna/model/trans_unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
constexpr int width = 48;
#else
constexpr int width = 40;
#endif

using Net = ulna::TransUNet<ulna::encoder::Patches<>, ulna::Hidden<8>, ulna::Heads<2>, ulna::Layers<1>>;
static_assert(ulna::Program<Net, ulna::Image<3, 32, width>>::classes == 9);
