// SPDX-License-Identifier: MIT
// Trains a network by the recipe and scores it on whole test images.
#pragma once

#include <iostream>
#include <ulna/predict/tiling.hpp>

#include "recipe.hpp"

namespace nuclei {

namespace detail {

/// The image extended by mirroring its end.
inline std::vector<float> extended(const ulna::ImageArray& image, int height, int width) {
  const int h = ulna::extent(image, 0);
  const int w = ulna::extent(image, 1);
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      out.push_back(image(static_cast<std::size_t>(ulna::mirrored(y, h)),
                          static_cast<std::size_t>(ulna::mirrored(x, w)), std::size_t{0}));
  return out;
}

/// Labels of one image by a program that it fits into.
template <class P>
ulna::LabelArray labels(ulna::Predictor<P, Backend>& predictor, const ulna::ImageArray& image) {
  const std::vector<float> input = extended(image, P::input_shape.height, P::input_shape.width);
  const auto logits = predictor.predict({input.data(), 1, P::input_shape.height, P::input_shape.width, 1});
  ulna::LabelArray labels = ulna::LabelArray::from_shape({image.shape()[0], image.shape()[1]});
  for (int y = 0; y < ulna::extent(image, 0); ++y)
    for (int x = 0; x < ulna::extent(image, 1); ++x) {
      const float* v = logits.row(0, y) + x * logits.pixel_stride;
      labels(static_cast<std::size_t>(y), static_cast<std::size_t>(x)) = v[1] > v[0] ? 1 : 0;
    }
  return labels;
}

/// Whole images, each by the first of these extents that holds it: no tiles, so that networks of any halo compare.
template <class Net, class ModelType>
class WholeImages {
 public:
  explicit WholeImages(ModelType& model) : model_(model) {}

  ulna::LabelArray labels(const ulna::ImageArray& image) {
    return by_first<Extent<256, 256>, Extent<256, 320>, Extent<384, 384>, Extent<544, 704>, Extent<1024, 1024>>(image);
  }

 private:
  template <int Height, int Width>
  struct Extent {
    static constexpr int height = Height;
    static constexpr int width = Width;
    using Program = ulna::Program<Net, ulna::Image<1, Height, Width>>;
  };

  template <class First, class... Rest>
  ulna::LabelArray by_first(const ulna::ImageArray& image) {
    if (ulna::extent(image, 0) <= First::height && ulna::extent(image, 1) <= First::width) {
      ulna::Predictor<typename First::Program, Backend> predictor{model_};
      return detail::labels(predictor, image);
    }
    if constexpr (sizeof...(Rest) > 0)
      return by_first<Rest...>(image);
    else
      throw ulna::DataError("nuclei: an image of " + std::to_string(ulna::extent(image, 0)) + " x " +
                            std::to_string(ulna::extent(image, 1)) + " is larger than 1024 x 1024");
  }

  ModelType& model_;
};

}  // namespace detail

/// Scores a trained model, as network `Net` (which may be a pruned form of the model's).
template <class Net, class ModelType>
Result score(const std::string& name, ModelType& model, const Data& data) {
  using P = ulna::Program<Net, ulna::Image<1, 256, 256>>;
  Result result{.network = name, .parameters = P::parameter_count, .macs = P::macs};
  const auto start = std::chrono::steady_clock::now();
  detail::WholeImages<Net, ModelType> whole{model};
  IoU iou{2};
  Dice dice{2};
  for (const auto& s : data.test) {
    const ulna::LabelArray prediction = whole.labels(s.image);
    iou.add(prediction, s.labels);
    dice.add(prediction, s.labels);
  }
  result.inference_seconds = seconds_since(start);
  result.iou = iou.value();
  result.dice = dice.value();
  return result;
}

/// Trains `Net` from a seed.
template <class Net>
ulna::Model<ulna::Program<Net, ulna::Image<1, crop, crop>>> train(const std::string& name, const Data& data,
                                                                  const Options& options, double& seconds) {
  using P = ulna::Program<Net, ulna::Image<1, crop, crop>>;
  ulna::Model<P> model{ulna::Seed{options.seed}};
  ulna::Loader loader{data.train, augmentation(), batch, crop, crop, ulna::Seed{options.seed}};
  ulna::Trainer<P, Loss, Backend> trainer{
      model,
      ulna::Adam{.learning_rate = learning_rate},
      {.batch = batch, .schedule = ulna::schedule::cosine(options.steps, 0.0), .seed = ulna::Seed{options.seed}}};
  const auto start = std::chrono::steady_clock::now();
  const std::vector<ulna::Callback> callbacks{ulna::every(100, [&](const ulna::StepReport& report) {
    std::cerr << name << ": step " << report.step << ", loss " << report.loss << ", " << seconds_since(start) << " s\n";
    return true;
  })};
  ulna::fit(trainer, loader, options.steps, callbacks);
  seconds = seconds_since(start);
  return model;
}

/// Trains and scores one network.
template <class Net>
std::vector<Result> run(const std::string& name, const Data& data, const Options& options) {
  double seconds = 0.0;
  auto model = train<Net>(name, data, options, seconds);
  Result result = score<Net>(name, model, data);
  result.training_seconds = seconds;
  return {result};
}

}  // namespace nuclei
