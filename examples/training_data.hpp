// SPDX-License-Identifier: MIT
// The images that `train` learns from and is tested on: a folder of the user's, or generated ones.
#pragma once

#include <algorithm>
#include <iostream>
#include <string>
#include <ulna/data/folder.hpp>
#include <ulna/ulna.hpp>
#include <utility>
#include <vector>

#include "network.hpp"

namespace example {

/// Samples prepared for the network, and the test images as stored, for pictures and for the threshold.
struct TrainingData {
  int classes = 2;
  std::vector<ulna::Sample> train;
  std::vector<ulna::Sample> test;
  std::vector<ulna::ImageArray> train_stored;
  std::vector<ulna::ImageArray> test_stored;
  double foreground = 0.0;       ///< share of training pixels that are not class 0
  double dark_foreground = 0.0;  ///< share of training images whose foreground is darker than its background
};

namespace detail {

/// Share of pixels of each class.
inline std::vector<double> class_shares(const std::vector<ulna::Sample>& samples, int classes) {
  std::vector<double> count(static_cast<std::size_t>(classes), 0.0);
  double total = 0.0;
  for (const auto& s : samples)
    for (const std::uint8_t label : s.labels) {
      count[label] += 1.0;
      total += 1.0;
    }
  for (double& c : count) c /= total;
  return count;
}

/// Whether the pixels of class 1 and up are darker on average than those of class 0.
inline bool foreground_is_darker(const ulna::Sample& s) {
  double sum[2] = {0.0, 0.0};
  double count[2] = {1e-9, 1e-9};
  for (std::size_t i = 0; i < s.labels.size(); ++i) {
    const std::size_t side = s.labels.data()[i] != 0 ? 1 : 0;
    sum[side] += static_cast<double>(s.image.data()[i]);
    count[side] += 1.0;
  }
  return sum[1] / count[1] < sum[0] / count[0];
}

/// The largest class index in a folder's masks, plus one; binary masks (0 and 255) have two classes.
inline int count_classes(const std::string& folder) {
  const ulna::FolderDataset any{folder, {.classes = 256, .labels = ulna::LabelRule::indices, .image = {.grey = true}}};
  int largest = 1;
  for (const auto* samples : {&any.train(), &any.test()})
    for (const auto& s : *samples)
      for (const std::uint8_t v : s.labels) largest = std::max<int>(largest, v);
  return largest == 255 ? 2 : largest + 1;
}

}  // namespace detail

/// Generated cells: 24 to learn from, 6 to be tested on.
inline TrainingData generated_data(ulna::Seed seed) {
  TrainingData data;
  for (std::uint64_t i = 0; i < 30; ++i)
    (i < 24 ? data.train : data.test).push_back(ulna::synthetic_cells(256, 256, seed, i));
  return data;
}

/// A folder of images and masks. Of two classes the rarer one is made class 1, the foreground.
inline TrainingData folder_data(const std::string& folder) {
  TrainingData data;
  data.classes = detail::count_classes(folder);
  ulna::FolderOptions options{.classes = data.classes, .image = {.grey = true}};
  if (data.classes > 2) options.labels = ulna::LabelRule::indices;
  ulna::FolderDataset dataset{folder, options};
  data.train = std::move(dataset.train());
  data.test = std::move(dataset.test());
  if (data.classes == 2 && detail::class_shares(data.train, 2)[1] > 0.5) {
    std::cout << "masks: the larger values are the more frequent class, so class 1 (foreground) is value 0\n";
    for (auto* samples : {&data.train, &data.test})
      for (auto& s : *samples)
        for (std::uint8_t& v : s.labels) v = v == 0 ? 1 : 0;
  }
  return data;
}

/// Keeps the stored images, normalises the samples, and measures what augmentation needs to know.
inline void prepare(TrainingData& data) {
  data.foreground = 1.0 - detail::class_shares(data.train, data.classes)[0];
  int dark = 0;
  for (const auto& s : data.train) dark += detail::foreground_is_darker(s) ? 1 : 0;
  data.dark_foreground = static_cast<double>(dark) / static_cast<double>(data.train.size());
  for (auto& s : data.test) {
    data.test_stored.push_back(s.image);
    s.image = prepared(std::move(s.image), s.name);
  }
  for (auto& s : data.train) {
    data.train_stored.push_back(s.image);
    s.image = prepared(std::move(s.image), s.name);
  }
}

}  // namespace example
