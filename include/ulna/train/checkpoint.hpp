// SPDX-License-Identifier: MIT
// Checkpoints: everything a training run needs to go on to the same bits.
#pragma once

#include <charconv>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ulna/train/trainer.hpp"
#include "ulna/weights/model_file.hpp"

namespace ulna {

namespace detail {
inline std::string slot_prefix(int i) { return "optimizer." + std::to_string(i) + "."; }
}  // namespace detail

/// Writes model, optimizer memory and step count; a previous checkpoint survives until the new one is complete.
template <class P, class Loss, class B, class O, class... Options>
void save_checkpoint(Trainer<P, Loss, B, O, Options...>& trainer, const std::filesystem::path& path,
                     safetensors::Metadata metadata = {}) {
  using T = MasterOf<B>;
  auto& model = trainer.model();
  metadata["format"] = "pt";
  metadata["architecture"] = detail::hexadecimal(architecture_hash(model.graph()));
  metadata["optimizer"] = O::name;
  metadata["step"] = std::to_string(trainer.steps());
  safetensors::Writer writer{std::move(metadata)};
  detail::FileOrdered<T> tensors;
  tensors.add(
      model.graph(), writer, own_name, [&](const Parameter& p) { return model.values(p); },
      [](const Parameter&) { return true; });
  for (int i = 0; i < trainer.slot_count; ++i)
    tensors.add(
        model.graph(), writer, [&](const std::string& name) { return detail::slot_prefix(i) + name; },
        [&](const Parameter& p) {
          return std::span<const T>(trainer.optimizer_slot(i).data() + p.offset, static_cast<std::size_t>(p.size()));
        },
        [](const Parameter& p) { return is_trainable(p.kind); });
  writer.save(path);
}

/// Resumes a run: the next step gives the bits that the interrupted run would have given (with the same data and
/// options). Throws WeightsError and changes nothing when the file is not a checkpoint of this network and optimizer.
template <class P, class Loss, class B, class O, class... Options>
safetensors::Metadata load_checkpoint(Trainer<P, Loss, B, O, Options...>& trainer, const std::filesystem::path& path) {
  using T = MasterOf<B>;
  const safetensors::File file = safetensors::File::open(path);
  const auto entry = [&](const char* key) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end())
      throw WeightsError(path.string() + ": not a checkpoint: its metadata has no \"" + key +
                         "\"; expected a file written by save_checkpoint");
    return found->second;
  };
  if (const std::string optimizer = entry("optimizer"); optimizer != O::name)
    throw WeightsError(path.string() + ": written with optimizer " + optimizer + ", this run uses " + O::name);
  const std::string step_text = entry("step");
  std::int64_t step = -1;
  const auto parsed = std::from_chars(step_text.data(), step_text.data() + step_text.size(), step);
  if (parsed.ec != std::errc{} || parsed.ptr != step_text.data() + step_text.size() || step < 0)
    throw WeightsError(path.string() + ": the step is \"" + step_text + "\", expected a number");

  auto& model = trainer.model();
  std::map<std::string, std::vector<std::uint64_t>> needed;
  for (const Parameter& p : model.graph().parameters) {
    needed[name_of(model.graph(), p)] = file_shape(p);
    for (int i = 0; i < trainer.slot_count && is_trainable(p.kind); ++i)
      needed[detail::slot_prefix(i) + name_of(model.graph(), p)] = file_shape(p);
  }
  detail::require_tensors(file, needed, detail::is_bookkeeping);
  if (entry("architecture") != detail::hexadecimal(architecture_hash(model.graph())))
    throw WeightsError(path.string() +
                       ": the tensors fit, but another architecture wrote them (other activations, paddings or ways "
                       "down and up); resume with the network of that run, or load the weights alone");
  const auto values = [&](const std::string& name) { return file.at(name).template to_vector<T>(); };
  for (const auto& [name, shape] : needed) (void)values(name);  // an element type that does not convert throws here
  for (const Parameter& p : model.graph().parameters) {
    const std::string name = name_of(model.graph(), p);
    to_memory_order<T>(p, values(name), model.mutable_values(p));
    for (int i = 0; i < trainer.slot_count && is_trainable(p.kind); ++i)
      to_memory_order<T>(
          p, values(detail::slot_prefix(i) + name),
          trainer.optimizer_slot(i).subspan(static_cast<std::size_t>(p.offset), static_cast<std::size_t>(p.size())));
  }
  trainer.resume_at(step);
  return file.metadata();
}

}  // namespace ulna
