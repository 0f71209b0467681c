// SPDX-License-Identifier: MIT
// A few steps of a tiny network, and one prediction: everything that a user's program links.
#include <cstdio>
#include <ulna/data/image_file.hpp>
#include <ulna/ulna.hpp>
#include <vector>

#include "second.hpp"

using Net = ulna::UNet<ulna::Classes<2>, ulna::Width<4>, ulna::Depth<1>>;
using Program = ulna::Program<Net, ulna::Image<1, 16, 16>>;

int main() try {
  std::vector<float> pixels(16 * 16);
  std::vector<std::uint8_t> classes(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    classes[i] = i % 16 < 8 ? 1 : 0;
    pixels[i] = classes[i] == 1 ? 1.0f : -1.0f;
  }
  const ulna::ImagesView image{pixels, 1, 16, 16};
  const ulna::LabelsView labels{classes, 1, 16, 16};

  ulna::Model<Program> model{ulna::Seed{7}};
  ulna::Trainer<Program, ulna::CrossEntropy, ulna::cpu::Eigen<float>> trainer{model, {}, {.batch = 1}};
  const double first = trainer.step(image, labels).loss;
  double last = first;
  for (int step = 0; step < 20; ++step) last = trainer.step(image, labels).loss;

  const bool same = parameters_seen_elsewhere() == Program::parameter_count;
  std::printf("loss %.4f -> %.4f, %lld parameters\n", first, last, static_cast<long long>(Program::parameter_count));
  return last < first && same ? 0 : 1;
} catch (const ulna::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
