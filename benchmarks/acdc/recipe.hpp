// SPDX-License-Identifier: MIT
// Cardiac slices with 4 classes: a small TransUNet against a U-Net, one recipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <ulna/data/folder.hpp>
#include <ulna/metric/score.hpp>
#include <ulna/ulna.hpp>
#include <vector>

namespace acdc {

inline constexpr int classes = 4;  ///< background, right ventricle, myocardium, left ventricle
inline constexpr int crop = 192;
inline constexpr int batch = 8;
inline constexpr double learning_rate = 1e-3;  ///< of Adam, falling to 0 along a cosine
using Loss = ulna::DiceCrossEntropy;
using Backend = ulna::cpu::Tbb<float>;
/// A class that a volume lacks, and that the network does not claim there, does not count.
using Dice = ulna::metric::Score<ulna::metric::Dice<ulna::metric::empty::Nan>, ulna::metric::PerClassMean>;

inline ulna::Augmentation augmentation() {
  ulna::Augmentation a = ulna::Augmentation::dihedral();
  a.rotation = 20;
  a.scaling = 0.15f;
  a.contrast = 0.2f;
  a.brightness = 0.2f;
  return a;
}

struct Data {
  std::vector<ulna::Sample> train;
  std::vector<ulna::Sample> test;
};

inline Data load(const std::string& folder) {
  ulna::FolderDataset dataset{folder,
                              {.classes = classes, .labels = ulna::LabelRule::indices, .image = {.grey = true}}};
  Data data{std::move(dataset.train()), std::move(dataset.test())};
  for (auto* samples : {&data.train, &data.test})
    for (auto& s : *samples) ulna::normalize(s.image, ulna::ZScore{}, s.name);
  return data;
}

struct Options {
  int steps = 1000;
  std::uint64_t seed = 1;
};

struct Result {
  std::string network;
  std::int64_t parameters = 0;
  std::int64_t macs = 0;   ///< of one crop
  double dice[classes]{};  ///< by class, mean over volumes; the background's is left at 0
  double mean_dice = 0.0;
  std::size_t volumes = 0;
  double training_seconds = 0.0;
  double inference_seconds = 0.0;
};

Result unet(const Data& data, const Options& options);
Result trans_unet(const Data& data, const Options& options);

namespace detail {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The volume that a slice belongs to: `patient003_frame01` of `patient003_frame01_s04`.
inline std::string volume_of(const std::string& slice) { return slice.substr(0, slice.rfind('_')); }

/// Slices of one volume below one another, as one label map: scores are those of the volume.
struct Volume {
  std::vector<std::uint8_t> prediction, truth;
};

inline ulna::LabelArray column(const std::vector<std::uint8_t>& values) {
  ulna::LabelArray map = ulna::LabelArray::from_shape({values.size(), 1});
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

}  // namespace detail

/// Trains `Net` and scores it by volume.
template <class Net>
Result run(const std::string& name, const Data& data, const Options& options) {
  using P = ulna::Program<Net, ulna::Image<1, crop, crop>>;
  Result result{.network = name, .parameters = P::parameter_count, .macs = P::macs};
  ulna::Model<P> model{ulna::Seed{options.seed}};
  ulna::Loader loader{data.train, augmentation(), batch, crop, crop, ulna::Seed{options.seed}};
  ulna::Trainer<P, Loss, Backend> trainer{
      model,
      ulna::Adam{.learning_rate = learning_rate},
      {.batch = batch, .schedule = ulna::schedule::cosine(options.steps, 0.0), .seed = ulna::Seed{options.seed}}};
  auto start = std::chrono::steady_clock::now();
  const std::vector<ulna::Callback> callbacks{ulna::every(100, [&](const ulna::StepReport& report) {
    std::cerr << name << ": step " << report.step << ", loss " << report.loss << ", " << detail::seconds_since(start)
              << " s\n";
    return true;
  })};
  ulna::fit(trainer, loader, options.steps, callbacks);
  result.training_seconds = detail::seconds_since(start);

  start = std::chrono::steady_clock::now();
  ulna::BlendedSegmenter<P, Backend> segmenter{model};
  std::map<std::string, detail::Volume> volumes;
  for (const auto& s : data.test) {
    const ulna::LabelArray labels =
        segmenter.labels({s.image.data(), 1, ulna::extent(s.image, 0), ulna::extent(s.image, 1), 1});
    detail::Volume& v = volumes[detail::volume_of(s.name)];
    v.prediction.insert(v.prediction.end(), labels.begin(), labels.end());
    v.truth.insert(v.truth.end(), s.labels.begin(), s.labels.end());
  }
  result.inference_seconds = detail::seconds_since(start);
  Dice dice{classes};
  for (const auto& [key, v] : volumes) dice.add(detail::column(v.prediction), detail::column(v.truth));
  result.volumes = volumes.size();
  for (int c = 1; c < classes; ++c) result.dice[c] = dice.value(c);
  result.mean_dice = dice.value();
  return result;
}

}  // namespace acdc
