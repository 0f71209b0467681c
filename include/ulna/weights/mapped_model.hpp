// SPDX-License-Identifier: MIT
// Models that are files: a safetensors file whose data are the model's memory, in its order ([tap][in][out], see
// weights/layout.hpp) instead of PyTorch's. It is mapped, not read: pages come when they are touched, processes share
// them, and the time to open it does not depend on its size. Frozen models (predict/frozen.hpp) are served best.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ulna/file.hpp"
#include "ulna/weights/model_file.hpp"

namespace ulna {

namespace detail {

/// The shape of a parameter in memory order: (taps, in, out), or (out) for a vector.
inline std::vector<std::uint64_t> memory_shape(const Parameter& p) {
  const auto out = static_cast<std::uint64_t>(p.out);
  if (p.kernel.volume() * p.in == 1) return {out};
  return {static_cast<std::uint64_t>(p.kernel.volume()), static_cast<std::uint64_t>(p.in), out};
}

/// Where a parameter's elements begin: first parameters, then state, each in the order of the graph.
std::ptrdiff_t place_in_file(const auto& graph, const Parameter& p) {
  return static_cast<std::ptrdiff_t>(p.offset + (is_trainable(p.kind) ? 0 : graph.parameter_count));
}

/// Refuses a file, mapped at `base`, that is not, number for number, the memory of a model with that graph. Returns the
/// byte of its first number.
template <class T>
std::ptrdiff_t require_memory_of(const auto& graph, const safetensors::File& file, const std::byte* base) {
  const auto layout = file.metadata().find("layout");
  if (layout == file.metadata().end() || !layout->second.starts_with(memory_layout))
    throw WeightsError(file.name() + ": its layout is " +
                       (layout == file.metadata().end() ? "not stated" : json::quoted(layout->second)) +
                       "; only files of save_mappable, \"" + memory_layout +
                       "\", can be mapped; load others with load_model");
  if (const std::string own = memory_layout_of(graph); layout->second != own)
    throw WeightsError(file.name() + ": its layout is " + json::quoted(layout->second) + ", and this program maps " +
                       json::quoted(own) +
                       "; freeze or pack the model anew for the backend that runs it (predict/frozen.hpp)");
  TensorShapes shapes;
  for (const Parameter& p : graph.parameters) shapes[name_of(graph, p)] = memory_shape(p);
  require_tensors(file, shapes, [](const std::string&) { return false; });
  require_architecture(file, architecture_hash(graph), architecture_hash(graph));
  std::ptrdiff_t first = -1;
  for (const Parameter& p : graph.parameters) {
    const safetensors::Tensor& t = file.at(name_of(graph, p));
    if (t.dtype != safetensors::dtype_of<T>())
      throw WeightsError(file.name() + ": tensor " + t.name + " is " + t.description() + ", a model of " +
                         std::string(dtype_name(safetensors::dtype_of<T>())) +
                         " was asked for; numbers that are mapped cannot be converted");
    const std::ptrdiff_t start = t.bytes.data() - base - place_in_file(graph, p) * std::ptrdiff_t{sizeof(T)};
    if (first < 0) first = start;
    if (start < 0 || start != first || start % std::ptrdiff_t{alignof(T)} != 0)
      throw WeightsError(file.name() + ": tensor " + t.name +
                         " does not lie where the model has it; write the file anew with save_mappable");
  }
  return std::max<std::ptrdiff_t>(first, 0);
}

}  // namespace detail

/// Writes a file for map_model: whole or not at all. Throws FileError.
template <class P, class T>
void save_mappable(const Model<P, T>& model, const std::filesystem::path& path, safetensors::Metadata metadata = {}) {
  metadata["layout"] = detail::memory_layout_of(model.graph());
  metadata["architecture"] = detail::hexadecimal(architecture_hash(model.graph()));
  safetensors::Writer writer{std::move(metadata)};
  for (const bool trainable : {true, false})
    for (const Parameter& p : model.graph().parameters)
      if (is_trainable(p.kind) == trainable)
        writer.add<T>(name_of(model.graph(), p), detail::memory_shape(p), model.values(p));
  writer.save(path);
}

/// The model that such a file is. Changes of the model stay in this process. The file may be replaced (by a rename, as
/// everything here is written) but not shortened while the model lives. Throws FileError, or WeightsError when the file
/// is damaged, of another network or of another element type. `residency`: how much of it stays in memory between
/// inferences, see runtime/weight_stream.hpp; a model that was changed stays as a whole.
template <class P, class T = float>
Model<P, T> map_model(const std::filesystem::path& path, Residency residency = {}) {
  const auto mapping = std::make_shared<MappedFile>(path, Mapping::copy_on_write);
  const auto file = safetensors::File::parse(mapping->bytes(), path.string());
  const std::ptrdiff_t first = detail::require_memory_of<T>(Model<P, T>::graph(), file, mapping->bytes().data());
  T* numbers = reinterpret_cast<T*>(mapping->mutable_bytes().data() + first);
  constexpr auto parameters = static_cast<std::size_t>(P::parameter_count);
  constexpr auto state = static_cast<std::size_t>(P::state_count);
  const bool streamed = residency.bytes < parameters * sizeof(T);
  return Model<P, T>{Buffer<T>{mapping, {numbers, parameters}}, Buffer<T>{mapping, {numbers + parameters, state}},
                     streamed ? StreamedFile{mapping, residency} : StreamedFile{}};
}

}  // namespace ulna
