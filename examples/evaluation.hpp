// SPDX-License-Identifier: MIT
// Scores and pictures of what `train` learnt, next to a threshold and a constant predictor.
#pragma once

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <string>
#include <ulna/classic/constant.hpp>
#include <ulna/classic/otsu.hpp>
#include <ulna/data/image_file.hpp>
#include <ulna/metric/score.hpp>
#include <ulna/report/contact_sheet.hpp>
#include <ulna/report/curve.hpp>
#include <ulna/report/overlay.hpp>
#include <ulna/report/progress.hpp>
#include <ulna/report/table.hpp>
#include <utility>
#include <vector>

#include "training_data.hpp"

namespace example {

using PixelError = ulna::metric::Score<ulna::metric::PixelError, ulna::metric::PerImageMean>;
using Dice = ulna::metric::Score<ulna::metric::Dice<ulna::metric::empty::One>, ulna::metric::PerImageMean>;
using IoU = ulna::metric::Score<ulna::metric::IoU<ulna::metric::empty::One>, ulna::metric::PerImageMean>;

inline const std::string convention =
    PixelError::name() + "; " + Dice::name() + "; " + IoU::name() + "; on images not trained on, of the foreground";

namespace detail {
inline std::string number(double value, int decimals) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(decimals) << value;
  return text.str();
}
}  // namespace detail

/// Scores of one method over the test images.
struct MethodScores {
  std::string key;
  std::string title;
  double pixel_error = 0.0;
  double dice = 0.0;
  double iou = 0.0;
};

/// Scores of every method.
struct Results {
  std::vector<MethodScores> methods;

  nlohmann::json json() const {
    nlohmann::json j;
    for (const auto& m : methods)
      j["methods"][m.key] = {{"pixel_error", m.pixel_error}, {"dice", m.dice}, {"iou", m.iou}};
    j["convention"] = convention;
    return j;
  }

  std::string table() const {
    const auto number = [](double v) { return detail::number(v, 4); };
    ulna::report::Table table{{"method", "pixel error", "Dice", "IoU"}};
    for (const auto& m : methods) table.add_row({m.title, number(m.pixel_error), number(m.dice), number(m.iou)});
    return table.text();
  }
};

namespace detail {

/// Which side of Otsu's threshold is foreground.
enum class Side { bright, dark, smaller };

/// Foreground by Otsu's threshold, as class `label`.
inline ulna::LabelArray otsu_mask(const ulna::ImageArray& image, Side side, std::uint8_t label) {
  float low = image.data()[0];
  float high = low;
  for (const float v : image) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  const bool eight_bit = low >= 0.0f && high <= 255.0f;
  ulna::LabelArray mask =
      eight_bit ? ulna::classic::otsu(image) : ulna::classic::otsu(image, {low, high > low ? high : low + 1.0f});
  if (side == Side::smaller) mask = ulna::classic::minority_foreground(std::move(mask));
  for (std::uint8_t& v : mask) v = static_cast<std::uint8_t>((v != 0) == (side != Side::dark) ? label : 0);
  return mask;
}

/// The most frequent class other than 0 in the training masks: what a threshold calls foreground.
inline std::uint8_t main_foreground(const TrainingData& data) {
  const std::vector<double> shares = class_shares(data.train, data.classes);
  return static_cast<std::uint8_t>(std::max_element(shares.begin() + 1, shares.end()) - shares.begin());
}

/// The side that gives the smaller pixel error on the training images: the threshold is given its best chance.
inline Side best_side(const TrainingData& data, std::uint8_t label) {
  Side best = Side::bright;
  double least = 2.0;
  for (const Side side : {Side::bright, Side::dark, Side::smaller}) {
    PixelError error{data.classes};
    for (std::size_t i = 0; i < data.train.size(); ++i)
      error.add(otsu_mask(data.train_stored[i], side, label), data.train[i].labels);
    if (error.value() < least) {
      least = error.value();
      best = side;
    }
  }
  return best;
}

inline MethodScores score(const TrainingData& data, std::string key, std::string title, auto&& predict) {
  PixelError error{data.classes};
  Dice dice{data.classes};
  IoU iou{data.classes};
  for (std::size_t i = 0; i < data.test.size(); ++i) {
    const ulna::LabelArray prediction = predict(i);
    error.add(prediction, data.test[i].labels);
    dice.add(prediction, data.test[i].labels);
    iou.add(prediction, data.test[i].labels);
  }
  return {std::move(key), std::move(title), error.value(), dice.value(), iou.value()};
}

}  // namespace detail

/// U-Net, Otsu, constant predictor on the test images.
inline Results evaluate(const TrainingData& data, const std::vector<ulna::LabelArray>& predictions) {
  const std::uint8_t label = detail::main_foreground(data);
  const detail::Side side = detail::best_side(data, label);
  ulna::classic::ConstantPredictor constant;
  for (const auto& s : data.train) constant.add(s.labels);
  Results results;
  results.methods.push_back(
      detail::score(data, "unet", "U-Net", [&](std::size_t i) -> const ulna::LabelArray& { return predictions[i]; }));
  results.methods.push_back(detail::score(data, "otsu", "Otsu's threshold", [&](std::size_t i) {
    return detail::otsu_mask(data.test_stored[i], side, label);
  }));
  results.methods.push_back(detail::score(data, "constant", "constant predictor", [&](std::size_t i) {
    ulna::LabelArray all = data.test[i].labels;
    std::fill(all.begin(), all.end(), constant.majority());
    return all;
  }));
  return results;
}

/// Overlays of every test image, the loss curve, and a contact sheet of the first few.
inline void write_pictures(const std::string& folder, const TrainingData& data,
                           const std::vector<ulna::LabelArray>& predictions, const std::vector<double>& losses) {
  namespace report = ulna::report;
  constexpr std::size_t sheet_rows = 4;
  const auto labels = [&](const ulna::LabelArray& map) {
    return data.classes == 2 ? report::mask_picture(map) : report::class_picture(map);
  };
  std::filesystem::create_directories(folder + "/overlays");
  report::ContactSheet sheet{{"image", "truth", "U-Net", "comparison"}, report::overlay_legend()};
  for (std::size_t i = 0; i < data.test.size(); ++i) {
    const auto& s = data.test[i];
    const ulna::PictureArray overlay = report::overlay(data.test_stored[i], predictions[i], s.labels);
    ulna::write_png(folder + "/overlays/" + s.name + ".png", overlay);
    if (i >= sheet_rows) continue;
    Dice dice{data.classes};
    dice.add(predictions[i], s.labels);
    sheet.add_row(s.name.substr(0, 16) + "  Dice " + detail::number(dice.value(), 3),
                  {report::to_picture(data.test_stored[i]), labels(s.labels), labels(predictions[i]), overlay});
  }
  ulna::write_png(folder + "/contact_sheet.png", sheet.render());
  std::vector<double> steps(losses.size());
  std::iota(steps.begin(), steps.end(), 1.0);
  ulna::write_png(folder + "/loss.png",
                  report::render({.title = "training loss",
                                  .x_label = "step",
                                  .y_label = "loss",
                                  .series = {{"each batch", steps, losses, true},
                                             {"smoothed", steps, report::smoothed(losses), false}}}));
}

}  // namespace example
