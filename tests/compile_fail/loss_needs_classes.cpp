// SPDX-License-Identifier: MIT
// Cross-entropy over one logit a pixel has nothing to learn.
// expect: "UNet/loss: cross-entropy needs at least 2 logits a pixel, the network gives 1" "or BinaryCrossEntropy"
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>
#include <ulna/train/loss.hpp>

#ifdef ULNA_POSITIVE_CONTROL
using Loss = ulna::BinaryCrossEntropy;
#else
using Loss = ulna::CrossEntropy;
#endif

using Program = ulna::Program<ulna::UNet<ulna::Classes<1>, ulna::Width<8>>, ulna::Image<1, 32, 32>>;
static_assert(ulna::TrainingProgram<Program, Loss>::training_bytes(1) > 0);
