// SPDX-License-Identifier: MIT
// A frozen network has no norms left to train.
// expect: "a frozen program cannot be trained" "freeze that again"
#include <ulna/model/unet.hpp>
#include <ulna/predict/frozen.hpp>
#include <ulna/train/loss.hpp>

using P = ulna::Program<ulna::UNet<ulna::Width<4>, ulna::Depth<1>>, ulna::Image<1, 32, 32>>;
#ifdef ULNA_POSITIVE_CONTROL
using Trained = P;
#else
using Trained = ulna::Frozen<P>;
#endif
static_assert(ulna::TrainingProgram<Trained, ulna::CrossEntropy>::macs > 0);
