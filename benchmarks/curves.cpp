// SPDX-License-Identifier: MIT
// Training curves of one network by direct convolutions, by Winograd's and in bf16, on a folder of images and masks:
// does rounding show beside the choice of the seed? Runs with the same seed start with the same weights and see the
// same crops.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <ulna/data/folder.hpp>
#include <ulna/ulna.hpp>
#include <utility>
#include <vector>

namespace {

constexpr int crop = 256;
constexpr int batch = 2;
constexpr int window = 50;  // steps of a point of a curve
constexpr double learning_rate = 1e-3;

using Net = ulna::UNet<ulna::Width<16>, ulna::Depth<4>>;
using Program = ulna::Program<Net, ulna::Image<1, crop, crop>>;

struct Data {
  std::vector<ulna::Sample> train, test;
};

/// What one run left: the mean loss of every window of steps, and the share of wrong pixels in the test images.
struct Run {
  std::string arithmetic;
  std::uint64_t seed = 0;
  std::vector<double> curve;
  double pixel_error = 0.0;
};

double pixel_error(const ulna::Model<Program>& model, const Data& data) {
  ulna::Model<Program> copy = model.copy();
  ulna::Segmenter<ulna::Program<Net, ulna::Image<1, 512, 512>>, ulna::cpu::Tbb<float, ulna::arithmetic::Direct>>
      segmenter{copy, {.small_image = ulna::SmallImage::mirror}};
  std::int64_t wrong = 0, all = 0;
  for (const auto& s : data.test) {
    const auto labels = segmenter.labels({s.image.data(), 1, ulna::extent(s.image, 0), ulna::extent(s.image, 1), 1});
    for (std::size_t i = 0; i < labels.size(); ++i) wrong += labels.data()[i] != s.labels.data()[i];
    all += static_cast<std::int64_t>(labels.size());
  }
  return static_cast<double>(wrong) / static_cast<double>(all);
}

template <class Backend>
Run train(const std::string& name, const Data& data, int steps, std::uint64_t seed) {
  ulna::Model<Program> model{ulna::Seed{seed}};
  ulna::Loader loader{data.train, ulna::Augmentation::dihedral(), batch, crop, crop, ulna::Seed{seed}};
  ulna::Trainer<Program, ulna::CrossEntropy, Backend> trainer{
      model,
      ulna::Adam{.learning_rate = learning_rate},
      {.batch = batch, .schedule = ulna::schedule::cosine(steps, 0.0), .seed = ulna::Seed{seed}}};
  Run run{name, seed, {}, 0.0};
  double sum = 0.0;
  const std::vector<ulna::Callback> callbacks{[&](const ulna::StepReport& report) {
    sum += report.loss;
    if (report.step % window != 0) return true;
    run.curve.push_back(sum / window);
    sum = 0.0;
    return true;
  }};
  ulna::fit(trainer, loader, steps, callbacks);
  run.pixel_error = pixel_error(model, data);
  std::cerr << name << ", seed " << seed << ": pixel error " << run.pixel_error << '\n';
  return run;
}

/// The largest difference, over the points of the curves, between two runs that `related` joins.
double largest_difference(const std::vector<Run>& runs, auto&& related) {
  double largest = 0.0;
  for (const Run& a : runs)
    for (const Run& b : runs)
      for (std::size_t i = 0; related(a, b) && i < a.curve.size(); ++i)
        largest = std::max(largest, std::abs(a.curve[i] - b.curve[i]));
  return largest;
}

void print(const std::vector<Run>& runs, int steps) {
  std::cout << "| arithmetic | seed |";
  for (int s = window; s <= steps; s += window) std::cout << " to " << s << " |";
  std::cout << " pixel error |\n|---|---:|";
  for (int s = window; s <= steps + window; s += window) std::cout << "---:|";
  std::cout << '\n';
  char number[32];
  for (const Run& r : runs) {
    std::cout << "| " << r.arithmetic << " | " << r.seed << " |";
    for (const double v : r.curve) {
      std::snprintf(number, sizeof number, " %.4f |", v);
      std::cout << number;
    }
    std::snprintf(number, sizeof number, " %.4f |\n", r.pixel_error);
    std::cout << number;
  }
  const auto same_seed = [](const Run& a, const Run& b) { return a.seed == b.seed; };
  const auto same_arithmetic = [](const Run& a, const Run& b) { return a.arithmetic == b.arithmetic; };
  std::cout << "\nLargest difference between two curves of one seed: " << largest_difference(runs, same_seed)
            << "; of one arithmetic: " << largest_difference(runs, same_arithmetic) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Training curves of a U-Net by direct convolutions, by Winograd's and in bf16"};
  std::string folder;
  int steps = 300;
  int seeds = 3;
  app.add_option("folder", folder, "images/, masks/ and the lists train.txt and test.txt")->required();
  app.add_option("--steps", steps)->check(CLI::Range(window, 100'000))->capture_default_str();
  app.add_option("--seeds", seeds)->check(CLI::Range(1, 100))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    ulna::FolderDataset dataset{folder, {.classes = 2, .image = {.grey = true}}};
    Data data{std::move(dataset.train()), std::move(dataset.test())};
    for (auto* samples : {&data.train, &data.test})
      for (auto& s : *samples) ulna::normalize(s.image, ulna::ZScore{}, s.name);
    std::vector<Run> runs;
    for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(seeds); ++seed) {
      runs.push_back(train<ulna::cpu::Tbb<float, ulna::arithmetic::Direct>>("fp32, direct", data, steps, seed));
      runs.push_back(train<ulna::cpu::Tbb<float>>("fp32, Winograd", data, steps, seed));
      runs.push_back(train<ulna::cpu::Tbb<ulna::bf16>>("bf16", data, steps, seed));
    }
    print(runs, steps);
  } catch (const ulna::Error& error) {
    std::cerr << "curves: " << error.what() << '\n';
    return 1;
  }
}
