// SPDX-License-Identifier: MIT
// The constexpr front under nvcc: lowering, differentiation, fusing, planning and cost, all evaluated by its compiler.
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>
#include <ulna/train/loss.hpp>

namespace {

using ulna::Classes;
using ulna::Image;
using ulna::Program;
using ulna::TrainingProgram;
using ulna::UNet;
using ulna::Width;

// The U-Net of the 2015 paper: valid padding, no norm.
using Paper = Program<UNet<Classes<2>, Width<64>, ulna::padding::Valid, ulna::norm::None>, Image<1, 572, 572>>;
static_assert(Paper::parameter_count == 31'030'658);
static_assert(Paper::output_shape.height == 388 && Paper::output_shape.width == 388);

using Same = Program<UNet<Classes<2>, Width<64>>, Image<1, 512, 512>>;
static_assert(Same::macs > 0 && Same::inference_bytes(1) > 0);

// Forward and backward: the plan holds every node, and reuses memory.
using Training = TrainingProgram<Same, ulna::CrossEntropy>;
static_assert(Training::compiled.graph.parameter_count == 31'036'546);
static_assert(Training::compiled.graph.nodes.size() > Same::inference.graph.nodes.size());
static_assert(Training::compiled.plan.places.size() == Training::compiled.graph.nodes.size());
static_assert(Training::compiled.plan.arena > 0 && Training::compiled.plan.arena < Training::compiled.plan.unplanned);

}  // namespace

__global__ void parameters_of_the_paper(long long* out) { *out = Paper::parameter_count; }
