// SPDX-License-Identifier: MIT
// Every head gets as many channels.
// expect: "TransUNet/transformer/layer[0]/attention" "10 heads do not divide 768 channels"
#include <ulna/model/trans_unet.hpp>
#include <ulna/program.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Heads = ulna::Heads<8>;
#else
using Heads = ulna::Heads<10>;
#endif

static_assert(ulna::Program<ulna::TransUNet<Heads>, ulna::Image<1, 224, 224>>::classes == 9);
