// SPDX-License-Identifier: MIT
// A network is a type. What it needs is known before anything runs.
#include <iostream>
#include <ulna/model/unet.hpp>
#include <ulna/program.hpp>

using Net = ulna::UNet<ulna::Classes<2>, ulna::Width<32>>;
using Program = ulna::Program<Net, ulna::Image<1, 256, 256>>;

static_assert(Program::parameter_count == 7'762'498);
static_assert(Program::output_shape == ulna::Shape{2, 1, 256, 256});
static_assert(Program::halo.pixels == 94);  // tiles that overlap by this much give exactly the whole image's result
static_assert(Program::inference_bytes(1) < 80'000'000);

int main() {
  std::cout << Program::summary();
  // try ulna::Image<1, 250, 250>: the compiler names the layer, the rule, and the extents that fit
}
