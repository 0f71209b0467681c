// SPDX-License-Identifier: MIT
// A data set as a folder of images and masks. Needs libpng and libtiff: link the optional component ulna::image.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ulna/data/image_file.hpp"
#include "ulna/data/label_rule.hpp"
#include "ulna/data/sample.hpp"
#include "ulna/data/split.hpp"

namespace ulna {

/// How a data folder is read.
struct FolderOptions {
  int classes = 2;                          ///< 2 to 256
  LabelRule labels = LabelRule::automatic;  ///< what mask values mean
  bool invert = false;                      ///< exchange the two classes of a binary mask
  ImageReadOptions image = {};              ///< channels and bit depth of the images
  std::string images = "images";            ///< the sub-folder of images
  std::string masks = "masks";              ///< the sub-folder of masks
};

namespace detail {

inline std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// Stem -> path of the .png, .tif and .tiff files of a folder; hidden files do not count.
inline std::map<std::string, std::filesystem::path> image_files(const std::filesystem::path& folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw FileError("folder '" + folder.string() + "' does not exist; a data set is a folder with images/ and masks/");
  }
  std::filesystem::directory_iterator entries(folder, error);
  if (error) throw FileError("folder '" + folder.string() + "' cannot be read: " + error.message());
  std::map<std::string, std::filesystem::path> files;
  for (const auto& entry : entries) {
    const auto& path = entry.path();
    const std::string extension = lower_case(path.extension().string());
    const bool image = extension == ".png" || extension == ".tif" || extension == ".tiff";
    if (!image || path.filename().string().starts_with('.') || !entry.is_regular_file(error)) continue;
    const auto [other, is_new] = files.emplace(path.stem().string(), path);
    if (!is_new) {
      throw DataError("'" + path.string() + "' and '" + other->second.filename().string() +
                      "' have the same stem; remove one of them");
    }
  }
  if (files.empty()) {
    throw DataError("folder '" + folder.string() + "' holds no image; put .png, .tif or .tiff files there");
  }
  return files;
}

}  // namespace detail

/// The pairs of a data folder, in memory:
///
///     folder/images/NAME.png   .png, .tif or .tiff
///     folder/masks/NAME.png    same stem, same height and width
///     folder/train.txt, val.txt, test.txt   optional lists of stems; see read_split for what happens without
///
/// Images hold the values of the files (see normalize.hpp), labels are class indices.
class FolderDataset {
 public:
  /// Reads all pairs of the split. Names and lists are checked before the first image is decoded.
  /// Throws FileError (missing folder, unreadable or truncated file) or DataError (no images, image without mask, sizes
  /// that differ, labels out of range, a list naming what is not there); each message names the file and the remedy.
  explicit FolderDataset(const std::filesystem::path& folder, const FolderOptions& options = {}) : options_(options) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error)) {
      throw FileError("folder '" + folder.string() +
                      "' does not exist; a data set is a folder with images/ and masks/");
    }
    images_ = detail::image_files(folder / options.images);
    masks_ = detail::image_files(folder / options.masks);
    std::vector<std::string> stems;
    for (const auto& [stem, path] : images_) stems.push_back(stem);
    const Split split = read_split(folder, stems);
    if (split.train.empty() || split.test.empty()) {
      throw DataError("folder '" + folder.string() + "' has " + std::to_string(images_.size()) + " images, " +
                      std::to_string(split.train.size()) + " to train on and " + std::to_string(split.test.size()) +
                      " to test on; at least one of each is needed");
    }
    for (const auto* stems_of : {&split.train, &split.validation, &split.test}) {
      for (const std::string& stem : *stems_of) require_mask(stem, folder / options.masks);
    }
    train_ = read_all(split.train);
    validation_ = read_all(split.validation);
    test_ = read_all(split.test);
  }

  const std::vector<Sample>& train() const { return train_; }
  const std::vector<Sample>& validation() const { return validation_; }
  const std::vector<Sample>& test() const { return test_; }

  // To normalise in place, or to move into a loader.
  std::vector<Sample>& train() { return train_; }
  std::vector<Sample>& validation() { return validation_; }
  std::vector<Sample>& test() { return test_; }

 private:
  void require_mask(const std::string& stem, const std::filesystem::path& folder) const {
    if (masks_.contains(stem)) return;
    throw DataError("image '" + images_.at(stem).string() + "' has no mask; expected '" + (folder / stem).string() +
                    ".png' (or .tif, .tiff)");
  }

  Sample read(const std::string& stem) const {
    const auto& image_path = images_.at(stem);
    const auto& mask_path = masks_.at(stem);
    Sample sample{stem, read_image(image_path, options_.image), read_labels(mask_path), {}};
    if (sample.image.shape(0) != sample.labels.shape(0) || sample.image.shape(1) != sample.labels.shape(1)) {
      throw DataError("image '" + image_path.string() + "' is " + detail::size_text(sample.image) + ", its mask '" +
                      mask_path.string() + "' " + detail::size_text(sample.labels) +
                      "; both must be of one height and width");
    }
    apply_label_rule(sample.labels, options_.labels, options_.classes, options_.invert, mask_path.string());
    return sample;
  }

  std::vector<Sample> read_all(const std::vector<std::string>& stems) const {
    std::vector<Sample> samples;
    samples.reserve(stems.size());
    for (const std::string& stem : stems) samples.push_back(read(stem));
    return samples;
  }

  FolderOptions options_;
  std::map<std::string, std::filesystem::path> images_, masks_;
  std::vector<Sample> train_, validation_, test_;
};

}  // namespace ulna
