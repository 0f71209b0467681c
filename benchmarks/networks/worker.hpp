// SPDX-License-Identifier: MIT
// A network at work for benchmarks/run.sh: gives its first result, then one iteration for each line that it reads.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <ulna/predict/frozen.hpp>
#include <ulna/predict/predictor.hpp>
#include <ulna/train/trainer.hpp>
#include <ulna/weights/mapped_model.hpp>
#include <ulna/weights/model_file.hpp>
#include <vector>

#include "profile_json.hpp"

namespace networks {

/// A batch of images, with labels where the file has some.
class Batch {
 public:
  explicit Batch(const std::string& path) {
    const auto file = ulna::safetensors::File::open(path);
    const auto& x = file.at("images");
    const auto extent = [&x](std::size_t axis) { return static_cast<int>(x.shape.at(axis)); };
    pixels_ = x.to_vector<float>();
    images = {pixels_, extent(0), extent(1), extent(2), extent(3)};
    if (file.find("labels") == nullptr) return;
    classes_ = file.at("labels").to_vector<std::uint8_t>();
    labels = {classes_, extent(0), extent(1), extent(2)};
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  ulna::ImagesView images;
  ulna::LabelsView labels;

 private:
  std::vector<float> pixels_;
  std::vector<std::uint8_t> classes_;
};

template <class T>
std::vector<float> dense(const ulna::Tensor<T>& x) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(x.shape.size() * x.batch));
  for (int n = 0; n < x.batch; ++n)
    for (std::ptrdiff_t i = 0; i < x.pixels(); ++i)
      for (int c = 0; c < x.shape.channels; ++c) values.push_back(static_cast<float>(x.pixel(n, i)[c]));
  return values;
}

/// What another implementation's results are compared with.
struct Results {
  std::vector<float> logits;
  std::vector<float> losses;

  void save(const std::string& path) const {
    ulna::safetensors::Writer writer;
    writer.add<float>("logits", {logits.size()}, logits);
    writer.add<float>("losses", {losses.size()}, losses);
    writer.save(path);
  }
};

/// Logits of the batch, from memory of the host to memory of the host. On the CPU by a packed network that is mapped,
/// as other frameworks run models in a format of their own.
template <class Network, class B>
class Inference {
  static constexpr bool frozen = ulna::CpuBackend<B>;

 public:
  using P = typename std::conditional_t<frozen, std::type_identity<ulna::Packed<typename Network::Program, B>>,
                                        std::type_identity<typename Network::Program>>::type;
  static constexpr int passes = 1;  ///< over the network's multiply-accumulates

  static ulna::Model<P> load(const std::string& path) {
    if constexpr (frozen && requires { Network::resident_weights; })
      return ulna::map_model<P>(path, {.bytes = Network::resident_weights});
    else if constexpr (frozen)
      return ulna::map_model<P>(path);
    else
      return ulna::load_model<P>(path);
  }
  /// Writes what load() reads.
  static void convert(const std::string& weights, const std::string& path, B backend) {
    const auto model = ulna::load_model<typename Network::Program>(weights);
    if constexpr (frozen)
      ulna::save_mappable(ulna::pack<B>(model, std::move(backend)), path);
    else
      ulna::save_weights(model, path);
  }

  Inference(ulna::Model<P>& model, const Batch& batch, B backend)
      : images_(batch.images), predictor_(model, images_.batch, std::move(backend)) {}

  void iterate() { predictor_.predict(images_); }
  Results results() { return {dense(predictor_.predict(images_)), {}}; }
  std::string profile() { return json_of(predictor_.profile(images_), P::inference.graph); }
  std::size_t bytes() const { return predictor_.bytes(); }

 private:
  ulna::ImagesView images_;
  ulna::Predictor<P, B> predictor_;
};

/// Training steps on the batch, again and again.
template <class Network, class B>
class Training {
 public:
  using P = typename Network::Program;
  static constexpr int passes = 3;  ///< forward, and the gradients of images and of weights

  static ulna::Model<P> load(const std::string& path) { return ulna::load_model<P>(path); }
  static void convert(const std::string& weights, const std::string& path, B) {
    ulna::save_weights(load(weights), path);
  }

  Training(ulna::Model<P>& model, const Batch& batch, B backend)
      : batch_(batch),
        trainer_(model, {.learning_rate = 0.01, .momentum = 0.9}, {.batch = batch.images.batch}, std::move(backend)) {}

  void iterate() { loss_ = trainer_.step(batch_.images, batch_.labels).loss; }
  /// The loss of the second step shows what the first one changed.
  Results results() {
    Results r;
    for (int step = 0; step < 2; ++step) {
      iterate();
      r.losses.push_back(static_cast<float>(loss_));
      if (step == 0) r.logits = dense(trainer_.logits());
    }
    return r;
  }
  std::string profile() { return json_of(trainer_.profile(batch_.images, batch_.labels), Trainer::compiled.graph); }
  std::size_t bytes() const { return trainer_.bytes(); }

 private:
  using Trainer = ulna::Trainer<P, typename Network::Loss, B, ulna::SGD>;
  const Batch& batch_;
  Trainer trainer_;
  double loss_ = 0.0;
};

/// Of this process so far. (What getrusage() says may come from the process that started this one.)
inline long peak_rss_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "VmHWM:") {
      long kilobytes = 0;
      status >> kilobytes;
      return kilobytes;
    }
  return 0;
}

/// Allocations of this process so far, where benchmarks/peers/allocations.cpp was loaded before it; otherwise -1.
inline long allocations() {
  static const auto count = reinterpret_cast<long (*)()>(dlsym(RTLD_DEFAULT, "ulna_allocations"));
  return count == nullptr ? -1 : count();
}

std::string profile_or_error(auto& mode) try { return mode.profile(); } catch (const std::exception& error) {
  return json_of(error);
}

/// PROGRAM convert WEIGHTS MODEL: writes weights in the form that the program reads.
/// PROGRAM MODEL IMAGES RESULTS NUMBER: loads the model and images, saves the results, and says so; then runs one
/// iteration for each line of standard input and prints its milliseconds; at the end prints facts as JSON. NUMBER: of
/// threads, or of the device. On a device the line "profile" is answered with a profile as JSON instead.
template <template <class, class> class Mode, class Network, class B>
int run(int argc, char** argv) try {
  if (argc == 4 && argv[1] == std::string_view("convert")) {
    Mode<Network, B>::convert(argv[2], argv[3], B{});
    return 0;
  }
  if (argc != 5) {
    std::cerr << "usage: " << argv[0] << " MODEL IMAGES RESULTS NUMBER, or " << argv[0] << " convert WEIGHTS MODEL\n";
    return 2;
  }
  auto model = Mode<Network, B>::load(argv[1]);
  const auto batch = std::make_unique<Batch>(argv[2]);
  Mode<Network, B> mode{model, *batch, B{std::stoi(argv[4])}};
  mode.results().save(argv[3]);
  std::cout << "ready" << std::endl;
  long most = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if constexpr (!ulna::CpuBackend<B>)
      if (line == "profile") {
        std::cout << profile_or_error(mode) << std::endl;
        continue;
      }
    const long before = allocations();
    const auto start = std::chrono::steady_clock::now();
    mode.iterate();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    most = before < 0 ? before : std::max(most, allocations() - before);
    std::cout << time.count() << std::endl;
  }
  std::cout << R"({"peak_rss_mb": )" << static_cast<double>(peak_rss_kilobytes()) / 1024.0 << R"(, "held_mb": )"
            << static_cast<double>(mode.bytes()) / 1048576.0 << R"(, "allocations": )" << most << R"(, "macs": )"
            << Network::Program::macs * Mode<Network, B>::passes * batch->images.batch << "}" << std::endl;
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}

}  // namespace networks
