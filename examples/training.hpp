// SPDX-License-Identifier: MIT
// The program `train`: trains a U-Net on a folder of images and masks, or on generated ones, and shows what it learnt
// next to a threshold and a constant predictor. train.cpp and device/train.cu say where it runs.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <ulna/file.hpp>

#include "evaluation.hpp"
#include "network.hpp"
#include "training_data.hpp"

namespace example {

/// What the command line says.
struct Arguments {
  std::string folder;
  std::string out = "out";
  int steps = 0;
  int batch = 0;
  std::uint64_t seed = 1;
  double learning_rate = 3e-3;
  double elastic = 0.3;
  std::string loss = "auto";
  bool single = false;
  bool resume = false;
};

inline constexpr int generated_steps = 400;
inline constexpr int folder_steps = 2400;
inline constexpr int checkpoint_period = 200;
inline constexpr double final_rate = 0.1;  // share of the learning rate left at the end: the average needs movement
inline constexpr double average_decay = 0.995;  // of the moving average of the weights

// Large images give large crops, whose inside is free of border effects; smaller ones many small crops, so that a step
// sees many different images. The work of a step is the same.
inline constexpr int large_crop = 256;
inline constexpr int small_crop = 128;

inline bool takes_large_crops(const TrainingData& data) {
  return std::all_of(data.train.begin(), data.train.end(), [](const ulna::Sample& s) {
    return std::min(s.image.shape(0), s.image.shape(1)) >= 2 * large_crop;
  });
}

/// Flips, turns, and modest changes of intensity. Where images of both polarities occur (fluorescence and bright
/// field), also inversion, so that the network learns shapes rather than "bright".
inline ulna::Augmentation augmentation_for(const TrainingData& data, double elastic) {
  ulna::Augmentation a = ulna::Augmentation::dihedral();
  a.brightness = 0.1f;
  a.contrast = 0.1f;
  a.gamma = 0.1f;
  a.elastic_probability = static_cast<float>(elastic);
  a.elastic_sigma = 6.0f;
  const double rarer = std::min(data.dark_foreground, 1.0 - data.dark_foreground);
  if (rarer > 0.02) a.inversion_probability = 0.3f;
  return a;
}

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Cross-entropy minimises the share of wrong pixels. Where the foreground is rare it can be small without finding
/// anything, so soft Dice is added there.
inline bool adds_dice(const TrainingData& data, const std::string& loss) {
  constexpr double rare = 0.2;
  return loss == "dice" || (loss == "auto" && data.foreground < rare);
}

/// Trains, leaves the average of the last weights in the model, and returns the loss of every step.
template <class Where, class Program, class Loss>
std::vector<double> train(ulna::Model<Program>& model, const TrainingData& data, const Arguments& arguments) {
  constexpr int crop = Program::input_shape.height;
  using Labels = ulna::Labels<Program::classes, crop, crop>;
  const ulna::Seed seed{arguments.seed};
  ulna::Loader loader{data.train, augmentation_for(data, arguments.elastic), arguments.batch, crop, crop, seed};
  ulna::Trainer<Program, Loss, typename Where::Backend, ulna::Adam, Labels> trainer{
      model,
      ulna::Adam{.learning_rate = arguments.learning_rate},
      {.batch = arguments.batch, .schedule = ulna::schedule::cosine(arguments.steps, final_rate), .seed = seed}};

  const std::string checkpoint = arguments.out + "/checkpoint.safetensors";
  const std::string averaged = arguments.out + "/average.safetensors";
  ulna::WeightAverage average{model, average_decay};
  if (arguments.resume) {
    ulna::load_checkpoint(trainer, checkpoint);
    ulna::load_weights(average.model(), averaged);
    loader.seek(static_cast<std::uint64_t>(trainer.steps()));
    std::cout << "resuming after step " << trainer.steps() << '\n';
  }
  std::vector<double> losses;
  ulna::report::Progress progress{std::cout, arguments.steps};
  const std::vector<ulna::Callback> callbacks{[&](const ulna::StepReport& report) {
                                                average.update(model, report.step);
                                                losses.push_back(report.loss);
                                                progress.update(static_cast<int>(report.step), report.loss);
                                                return true;
                                              },
                                              ulna::every(checkpoint_period, [&](const ulna::StepReport&) {
                                                ulna::save_checkpoint(trainer, checkpoint);
                                                return true;
                                              })};
  ulna::fit(trainer, loader, arguments.steps, callbacks);
  progress.finish();
  model = average.model().copy();
  return losses;
}

template <class Where, class Program>
void run(TrainingData data, const Arguments& arguments) {
  const auto start = std::chrono::steady_clock::now();
  std::cout << data.train.size() << " images to train on, " << data.test.size() << " to test on, " << Program::classes
            << " classes, foreground " << static_cast<int>(100.0 * data.foreground + 0.5) << " % of pixels\n"
            << "U-Net of " << Program::parameter_count << " parameters, crops of " << Program::input_shape.height
            << " x " << Program::input_shape.width << ", batch " << arguments.batch << ", " << arguments.steps
            << " steps\n";
  ulna::Model<Program> model{ulna::Seed{arguments.seed}};
  const bool dice = adds_dice(data, arguments.loss);
  std::cout << "loss: cross-entropy" << (dice ? " + 1 - soft Dice\n" : "\n");
  const std::vector<double> losses = dice ? train<Where, Program, ulna::DiceCrossEntropy>(model, data, arguments)
                                          : train<Where, Program, ulna::CrossEntropy>(model, data, arguments);
  const double training_seconds = seconds_since(start);

  std::cout << "testing\n";
  AnySize<ulna::Model<Program>, Where> segmenter{
      model, {.small_image = ulna::SmallImage::mirror, .dihedral = !arguments.single}};
  std::vector<ulna::LabelArray> predictions;
  for (const auto& s : data.test) predictions.push_back(segmenter.labels(s.image));
  const Results results = evaluate(data, predictions);

  ulna::save_weights(model, arguments.out + "/unet.safetensors");
  write_pictures(arguments.out, data, predictions, losses);
  nlohmann::json json = results.json();
  json["seconds"] = seconds_since(start);
  json["training_seconds"] = training_seconds;
  json["steps"] = arguments.steps;
  json["seed"] = arguments.seed;
  ulna::write_file_atomically(arguments.out + "/results.json",
                              [&](ulna::FileSink& sink) { sink.write(json.dump(2) + "\n"); });
  std::cout << '\n'
            << results.table() << '\n'
            << convention << '\n'
            << "wrote overlays, loss.png, contact_sheet.png, unet.safetensors and results.json to " << arguments.out
            << "/ in " << static_cast<int>(seconds_since(start)) << " s\n";
}

/// Trains and tests networks of `Classes` classes, on the crops that suit the images.
template <class Where, int Classes>
void run_classes(TrainingData data, const Arguments& arguments) {
  if (takes_large_crops(data)) return run<Where, Program<Classes, large_crop>>(std::move(data), arguments);
  run<Where, Program<Classes, small_crop>>(std::move(data), arguments);
}

/// The program, but for where it runs.
template <class Where>
int train_main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App app{"Trains a U-Net on a folder of images and masks, or on generated ones, and shows what it learnt."};
  app.add_option("DIR", arguments.folder, "images/, masks/ and optionally train.txt and test.txt (one stem a line)");
  app.add_option("--out", arguments.out, "folder for results")->capture_default_str();
  app.add_option("--steps", arguments.steps, "training steps (default 400 on generated images, 2400 on a folder)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--batch", arguments.batch,
                 "crops a step (default 2 of 256 x 256 on images of 512 and more, else 8 of 128 x 128)")
      ->check(CLI::Range(1, 256));
  app.add_option("--seed", arguments.seed, "same seed, same result, to the bit")->capture_default_str();
  app.add_option("--learning-rate", arguments.learning_rate, "of Adam, falling to a tenth along a cosine")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--elastic", arguments.elastic, "share of crops that are deformed elastically")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--loss", arguments.loss,
                 "ce, dice (cross-entropy + soft Dice), or auto: dice where the foreground is rare")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "ce", "dice"}));
  app.add_flag("--single", arguments.single, "test each image once, not as the mean over its 8 flips and turns");
  app.add_flag("--resume", arguments.resume, "go on from the checkpoint in the results folder");
  CLI11_PARSE(app, argc, argv);
  if (arguments.steps == 0) arguments.steps = arguments.folder.empty() ? generated_steps : folder_steps;

  (void)typename Where::Backend{};  // a device that is not there is said before anything is done
  TrainingData data =
      arguments.folder.empty() ? generated_data(ulna::Seed{arguments.seed}) : folder_data(arguments.folder);
  prepare(data);
  std::filesystem::create_directories(arguments.out);
  const int classes = data.classes;
  if (arguments.batch == 0) arguments.batch = takes_large_crops(data) ? 2 : 8;
  with_classes(classes, [&]<int Classes>() { run_classes<Where, Classes>(std::move(data), arguments); });
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}

}  // namespace example
