// SPDX-License-Identifier: MIT
// Checks one program against one golden file, on every CPU backend.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "file_values.hpp"
#include "ulna/backend/eigen/eigen.hpp"
#include "ulna/backend/tbb/tbb.hpp"
#include "ulna/predict/predictor.hpp"
#include "ulna/train/trainer.hpp"

namespace golden {

/// How far a result is from the file's, and how far it may be.
struct Deviation {
  std::string what;
  double found;
  double allowed;

  bool fits() const { return found <= allowed; }  // NaN does not
};

inline void check(const Deviation& d) {
  CHECK_MESSAGE(d.fits(), d.what << ": differs by " << d.found << ", allowed " << d.allowed);
}

/// A golden file and its tolerances.
class File {
 public:
  explicit File(const std::string& name)
      : file_(safetensors::File::open(std::string(ULNA_GOLDEN_DIRECTORY) + "/" + name)),
        f32_error_(nlohmann::json::parse(file_.metadata().at("f32_error"))) {
    for (const auto& n : nlohmann::json::parse(file_.metadata().at("zero_grad"))) zero_gradient_.insert(n);
  }

  const safetensors::File& file() const { return file_; }
  std::vector<double> values(const std::string& name) const { return file_.at(name).to_vector<double>(); }
  bool has_zero_gradient(const std::string& parameter) const { return zero_gradient_.contains(parameter); }

  /// What a result of element type T may differ by: double, the rounding of the file (1e-6 of the largest value,
  /// relative to the values compared); float, ten times what PyTorch itself loses.
  template <class T>
  double tolerance(const std::string& group, const std::vector<double>& expected) const {
    double largest = 0.0;
    for (const double v : expected) largest = std::max(largest, std::abs(v));
    if constexpr (sizeof(T) == 8) return 1e-6 * largest + 1e-12;
    if (group == "grad") return 10.0 * f32_error_.at("grad_rel").get<double>() * largest + 1e-12;
    return 10.0 * f32_error_.at(group).get<double>();
  }

  template <class T>
  Deviation deviation(const std::string& what, const std::string& group, const std::vector<double>& found,
                      const std::vector<double>& expected) const {
    REQUIRE_MESSAGE(found.size() == expected.size(), what);
    double worst = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double d = std::abs(found[i] - expected[i]);
      if (!(d <= worst)) worst = d;  // NaN is the worst
    }
    return {what, worst, tolerance<T>(group, expected)};
  }

  template <class T>
  void compare(const std::string& what, const std::string& group, const std::vector<double>& found,
               const std::vector<double>& expected) const {
    check(deviation<T>(what, group, found, expected));
  }

 private:
  safetensors::File file_;
  nlohmann::json f32_error_;
  std::set<std::string> zero_gradient_;
};

/// Calls visit(deviation) for every parameter-like value (`values(parameter)` in memory order) from tensor prefix +
/// name.
template <class T, class P>
void for_each_deviation(const File& f, const NameMap& map, const std::string& prefix, const std::string& group,
                        auto&& values, auto&& take, auto&& visit) {
  const auto& graph = P::inference.graph;
  for (const Parameter& p : graph.parameters) {
    const std::string name = map(name_of(graph, p));
    if (!take(p, name)) continue;
    std::vector<T> file(static_cast<std::size_t>(p.size()));
    to_file_order<T>(p, values(p), file);
    visit(f.deviation<T>(prefix + name, group, std::vector<double>(file.begin(), file.end()), f.values(prefix + name)));
  }
}

/// Compares every parameter-like value with tensor prefix + name.
template <class T, class P>
void compare_parameters(const File& f, const NameMap& map, const std::string& prefix, const std::string& group,
                        auto&& values, auto&& take) {
  for_each_deviation<T, P>(f, map, prefix, group, values, take, check);
}

template <class P, class B>
void check_inference(const File& f, const NameMap& map) {
  using T = typename B::Element;
  Model<P, T> model;
  fill(model, f.file(), map);
  const Batch batch{f.file()};
  Predictor<P, B> predictor{model, batch.image_view.batch};
  f.compare<T>("output_eval", "output_eval", channels_first(predictor.predict(batch.image_view)),
               f.values("output_eval"));
}

template <class P, class Loss, class B>
void check_gradients(const File& f, const NameMap& map) {
  using T = typename B::Element;
  Model<P, T> model;
  fill(model, f.file(), map);
  const Batch batch{f.file()};
  Trainer<P, Loss, B> trainer{model, {}, {.batch = batch.image_view.batch}};
  const double loss = trainer.evaluate_gradients(batch.image_view, batch.label_view);
  f.compare<T>("loss", "loss", {loss}, f.values("loss"));
  f.compare<T>("output_train", "output_train", channels_first(trainer.logits()), f.values("output_train"));
  const auto gradient = [&](const Parameter& p) {
    return trainer.gradients().subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size()));
  };
  compare_parameters<T, P>(f, map, "grad.", "grad", gradient, [&](const Parameter& p, const std::string& name) {
    return is_trainable(p.kind) && !f.has_zero_gradient(name);
  });
  compare_parameters<T, P>(
      f, map, "after_train.", "after_train", [&](const Parameter& p) { return model.values(p); },
      [](const Parameter& p, const std::string&) { return !is_trainable(p.kind); });
}

/// The gradient of the loss by the image and by the logits, and other losses on the same logits.
template <class P, class Loss, class B>
void check_other_loss(const File& f, const NameMap& map, const std::string& suffix) {
  using T = typename B::Element;
  using Training = TrainingProgram<P, Loss, ImageGradient>;
  constexpr const auto& graph = Training::compiled.graph;
  Model<P, T> model;
  fill(model, f.file(), map);
  const Batch batch{f.file()};
  B backend;
  Buffer<T> gradients(model.parameters().size());
  Executor<Training, B> executor{backend,
                                 batch.image_view.batch,
                                 {model.mutable_parameters().data(), model.mutable_state().data(), gradients.data()}};
  detail::stage_finite(batch.image_view, executor.tensor(graph.image), "images");
  detail::stage_labels(batch.label_view, executor.tensor(graph.labels), std::max(P::classes, 2));
  executor.run();
  f.compare<T>("loss" + suffix, "loss" + suffix, {static_cast<double>(*executor.tensor(graph.loss).data)},
               f.values("loss" + suffix));
  f.compare<T>("grad_logits" + suffix, "grad_logits" + suffix, channels_first(executor.tensor(graph.output_gradient)),
               f.values("grad_logits" + suffix));
  if (suffix.empty())
    f.compare<T>("grad_input", "grad_input", channels_first(executor.tensor(graph.image_gradient)),
                 f.values("grad_input"));
}

/// What three steps and the losses on the way miss. `attempt` 0 starts at the file's weights, others at weights moved
/// by up to one ulp.
template <class P, class Loss, class B, class Optimizer>
std::vector<Deviation> misses_of_steps(const File& f, const NameMap& map, const std::string& name, Optimizer optimizer,
                                       int attempt) {
  using T = typename B::Element;
  Model<P, T> model;
  fill(model, f.file(), map);
  if (attempt > 0) {
    Random random{Seed{static_cast<std::uint64_t>(attempt)}};
    for (T& w : model.mutable_parameters()) w = std::nextafter(w, w + static_cast<T>(random.uniform(-1.0f, 1.0f)));
  }
  std::vector<Deviation> misses;
  const auto note = [&](const Deviation& d) {
    if (!d.fits()) misses.push_back(d);
  };
  const Batch batch{f.file()};
  Trainer<P, Loss, B, Optimizer> trainer{model, optimizer, {.batch = batch.image_view.batch}};
  std::vector<double> losses;
  for (int i = 0; i < 3; ++i) losses.push_back(trainer.step(batch.image_view, batch.label_view).loss);
  for_each_deviation<T, P>(
      f, map, name + "3.", name + "3", [&](const Parameter& p) { return model.values(p); },
      [&](const Parameter& p, const std::string& tensor) {
        // a bias in front of a norm moves the running mean with it
        return sizeof(T) == 8 || (!f.has_zero_gradient(tensor) && p.kind != ParameterKind::running_mean);
      },
      note);
  losses.push_back(trainer.evaluate_gradients(batch.image_view, batch.label_view));
  note(f.deviation<T>("steps." + name, "steps", losses, f.values("steps." + name)));
  return misses;
}

/// On the way of three steps float may meet ties that rounding decides. After the first step of SGD in attention_unet,
/// in double, two inputs of a ReLU are within 1.3e-7 and 3.9e-6 of 0, and two inputs of a max-pool in r2unet differ by
/// 2e-6; float is off by about 1e-6 there, and a choice that falls the other way moves gradients by up to 5 %. So, like
/// the files' own float runs, a run that misses is repeated from weights moved by up to one ulp, and one run has to
/// agree in everything. Double gets one attempt.
template <class P, class Loss, class B, class Optimizer>
void check_steps(const File& f, const NameMap& map, const std::string& name, Optimizer optimizer) {
  constexpr int attempts = sizeof(typename B::Element) == 8 ? 1 : 8;
  std::vector<Deviation> misses;
  int attempt = 0;
  do {
    misses = misses_of_steps<P, Loss, B>(f, map, name, optimizer, attempt);
  } while (!misses.empty() && ++attempt < attempts);
  CHECK_MESSAGE(misses.empty(), name << ": none of " << attempts << " attempts agrees");
  for (const Deviation& d : misses) check(d);
}

template <class P, class Loss, class Single, class B>
void check_backend(const File& f, const NameMap& map) {
  check_inference<P, B>(f, map);
  check_gradients<P, Loss, B>(f, map);
  check_other_loss<P, Loss, B>(f, map, "");
  check_other_loss<Single, SoftDice<dice::Batch>, B>(f, map, "_dice");
  check_other_loss<Single, SoftDice<dice::Squared>, B>(f, map, "_dice_sq");
  check_steps<P, Loss, B>(f, map, "sgd", SGD{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 1e-4});
  check_steps<P, Loss, B>(f, map, "adam", Adam{.learning_rate = 1e-3});
  check_steps<P, Loss, B>(f, map, "adamw", AdamW{.learning_rate = 1e-3, .weight_decay = 1e-2});
}

/// Outputs in both modes, losses, gradients, running statistics, and three steps of each optimizer, on every backend.
/// With deep supervision `loss` is the mean over the heads, but the Dice losses of a file are those of its last head
/// alone: `Single` is the program that has only that head.
template <class P, class Loss = CrossEntropy, class Single = P>
void check_all(const std::string& name, const NameMap& map) {
  const File f{name};
  SUBCASE("Eigen<double>") { check_backend<P, Loss, Single, cpu::Eigen<double>>(f, map); }
  SUBCASE("Eigen<float>") { check_backend<P, Loss, Single, cpu::Eigen<float>>(f, map); }
  SUBCASE("Tbb<float>, direct") { check_backend<P, Loss, Single, cpu::Tbb<float, arithmetic::Direct>>(f, map); }
  SUBCASE("Tbb<float>, Winograd") {
    // No steps: where a weight's gradient is exactly zero, Winograd may leave 1e-9 of rounding, and Adam divides it by
    // its own magnitude.
    check_inference<P, cpu::Tbb<float>>(f, map);
    check_gradients<P, Loss, cpu::Tbb<float>>(f, map);
  }
}

}  // namespace golden
