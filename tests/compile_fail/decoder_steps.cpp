// SPDX-License-Identifier: MIT
// Three doublings do not bring tokens of 16 pixels back to the image.
// expect: "together they must undo the encoder's token"
#include <ulna/model/trans_unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Decoder = ulna::Decoder<256, 128, 64, 16>;
#else
using Decoder = ulna::Decoder<256, 128, 64>;
#endif

static_assert(ulna::Program<ulna::TransUNet<Decoder>, ulna::Image<1, 224, 224>>::classes == 9);
