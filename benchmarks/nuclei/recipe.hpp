// SPDX-License-Identifier: MIT
// One recipe for every network, so that only the architecture differs. benchmarks/peers/nuclei.py repeats it in
// PyTorch.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <ulna/data/folder.hpp>
#include <ulna/metric/score.hpp>
#include <ulna/train/loss.hpp>
#include <ulna/ulna.hpp>
#include <vector>

namespace nuclei {

inline constexpr int width = 16;  ///< channels of the first level
inline constexpr int crop = 128;
inline constexpr int batch = 8;
inline constexpr double learning_rate = 1e-3;  ///< of Adam, falling to 0 along a cosine
using Loss = ulna::DiceCrossEntropy;
using Backend = ulna::cpu::Tbb<float>;
using IoU = ulna::metric::Score<ulna::metric::IoU<ulna::metric::empty::One>, ulna::metric::PerImageMean>;
using Dice = ulna::metric::Score<ulna::metric::Dice<ulna::metric::empty::One>, ulna::metric::PerImageMean>;

inline ulna::Augmentation augmentation() {
  ulna::Augmentation a = ulna::Augmentation::dihedral();
  a.inversion_probability = 0.3f;
  a.contrast = 0.2f;
  a.brightness = 0.2f;
  return a;
}

struct Data {
  std::vector<ulna::Sample> train;
  std::vector<ulna::Sample> test;
};

/// Grey images of zero mean and unit deviation; class 1 is the foreground.
inline Data load(const std::string& folder) {
  ulna::FolderDataset dataset{folder, {.classes = 2, .image = {.grey = true}}};
  Data data{std::move(dataset.train()), std::move(dataset.test())};
  for (auto* samples : {&data.train, &data.test})
    for (auto& s : *samples) ulna::normalize(s.image, ulna::ZScore{}, s.name);
  return data;
}

struct Options {
  int steps = 1500;
  std::uint64_t seed = 1;
};

/// What one network reached.
struct Result {
  std::string network;
  std::int64_t parameters = 0;
  std::int64_t macs = 0;  ///< of one inference at 256 x 256
  double iou = 0.0;
  double dice = 0.0;
  double training_seconds = 0.0;
  double inference_seconds = 0.0;  ///< of all test images
};

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace nuclei
