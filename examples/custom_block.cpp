// SPDX-License-Identifier: MIT
// A block of one's own, in a U-Net, trained for a few steps: squeeze a wide map with a 1x1 convolution, look around
// with a dilated one, and add the result to what came in.
#include <iostream>
#include <ulna/ulna.hpp>

template <class Style>
struct DilatedResidual {
  static constexpr ulna::Value lower(ulna::Builder& b, ulna::Value x, int channels) {
    using ulna::layer::conv;
    const bool bias = Style::bias;
    // shapes follow from the input; a mistake is a compile error that names this block's path
    x = conv(b, x, {.channels = channels, .kernel = 1, .bias = bias}, "project");
    x = Style::activation_layer::lower(b, Style::norm_layer::lower(b, x, "norm0"));
    ulna::Value y = conv(b, x, {.channels = channels, .kernel = 3, .dilation = 2, .bias = bias}, "dilated");
    y = Style::activation_layer::lower(b, Style::norm_layer::lower(b, y, "norm1"));
    y = conv(b, y, {.channels = channels, .kernel = 3, .bias = bias}, "conv");
    y = Style::norm_layer::lower(b, y, "norm2");
    return Style::activation_layer::lower(b, ulna::op::add(b, y, x));
  }
};

using Net = ulna::UNet<ulna::Width<8>, ulna::Depth<2>, ulna::Blocks<DilatedResidual>>;
using Program = ulna::Program<Net, ulna::Image<1, 64, 64>>;

int main() try {
  std::cout << Program::summary() << "halo: " << Program::halo.pixels << " pixels\n";

  std::vector<ulna::Sample> samples;
  for (std::uint32_t i = 0; i < 8; ++i) {
    samples.push_back(ulna::synthetic_cells(128, 128, ulna::Seed{7}, i));
    ulna::normalize(samples.back().image, ulna::ZScore{}, samples.back().name);
  }
  ulna::Loader loader{std::move(samples), ulna::Augmentation::dihedral(), 4, 64, 64, ulna::Seed{7}};

  ulna::Model<Program> model{ulna::Seed{7}};
  ulna::Trainer<Program, ulna::DiceCrossEntropy, ulna::cpu::Tbb<float>> trainer{model, {}, {.batch = 4}};
  for (int step = 1; step <= 100; ++step) {
    const ulna::Batch& batch = loader.next();
    const ulna::StepReport report = trainer.step(batch.images, batch.labels);
    if (step % 20 == 0) std::cout << "step " << step << "  loss " << report.loss << '\n';
  }
} catch (const ulna::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
