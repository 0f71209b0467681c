// SPDX-License-Identifier: MIT
// Models as safetensors files. Names follow the module path (`encoder.3.conv1.weight`), layouts are PyTorch's.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ulna/runtime/model.hpp"
#include "ulna/weights/layout.hpp"
#include "ulna/weights/safetensors.hpp"

namespace ulna {

/// What a weight file says of the network that it is of: its structure and the names of its parameters.
inline std::uint64_t architecture_hash(const auto& graph) {
  std::uint64_t hash = graph.structure;
  for (const Parameter& p : graph.parameters) {
    const std::string name = name_of(graph, p);
    hash = hash_bytes(std::as_bytes(std::span(name)), hash);
  }
  return hash;
}

/// Maps Ulna's name of a parameter to the name in a file; for checkpoints of other implementations, and for files that
/// those shall read. weights/name_maps/ has those of popular ones.
using NameMap = std::function<std::string(const std::string&)>;

/// The names as they are.
inline std::string own_name(const std::string& name) { return name; }

namespace detail {

inline std::string hexadecimal(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

inline std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

/// Parameters of a graph in file order, kept alive for a writer that only looks at them.
template <class T>
class FileOrdered {
 public:
  /// Adds every parameter for which `take` holds, read from `values(parameter)`, under map(its name).
  void add(const auto& graph, safetensors::Writer& writer, const NameMap& map, auto&& values, auto&& take) {
    for (const Parameter& p : graph.parameters) {
      if (!take(p)) continue;
      kept_.emplace_back(static_cast<std::size_t>(p.size()));
      to_file_order<T>(p, values(p), kept_.back());
      writer.add<T>(map(name_of(graph, p)), file_shape(p), kept_.back());
    }
  }

 private:
  std::vector<std::vector<T>> kept_;
};

/// Names in a file and the shapes there.
using TensorShapes = std::map<std::string, std::vector<std::uint64_t>>;

inline TensorShapes tensor_shapes(const auto& graph, const NameMap& map) {
  TensorShapes shapes;
  for (const Parameter& p : graph.parameters) shapes[map(name_of(graph, p))] = file_shape(p);
  return shapes;
}

/// The program of the whole network where P's network is a part of one and says so: `using FullNetwork = ...`, as
/// pruned networks do. Files of the whole then fit the part. Otherwise P itself.
template <class P>
struct WholeProgram {
  using type = P;
};
template <class P>
requires requires { typename P::Network::FullNetwork; }
struct WholeProgram<P> {
  using type = Program<typename P::Network::FullNetwork, typename P::InputShape>;
};

/// Compares a file with the tensors a graph needs; those of `further` may be there, too. Throws WeightsError with every
/// difference.
inline void require_tensors(const safetensors::File& file, const TensorShapes& needed,
                            const std::function<bool(const std::string&)>& ignored, const TensorShapes& further = {}) {
  std::vector<std::string> problems;
  const auto check_shape = [&](const safetensors::Tensor& t, const std::vector<std::uint64_t>& shape) {
    if (t.shape != shape)
      problems.push_back("mis-shaped  " + t.name + ": found " + shape_text(t.shape) + ", expected " +
                         shape_text(shape));
  };
  for (const auto& [name, shape] : needed) {
    const safetensors::Tensor* t = file.find(name);
    if (t == nullptr)
      problems.push_back("missing     " + name + " " + shape_text(shape));
    else
      check_shape(*t, shape);
  }
  for (const auto& t : file.tensors()) {
    if (needed.contains(t.name) || ignored(t.name)) continue;
    if (const auto known = further.find(t.name); known != further.end())
      check_shape(t, known->second);
    else
      problems.push_back("unexpected  " + t.name + " " + shape_text(t.shape));
  }
  if (problems.empty()) return;
  std::string text = file.name() + ": these weights belong to another network; " + std::to_string(problems.size()) +
                     " tensors differ from the " + std::to_string(needed.size()) + " expected:";
  for (const auto& p : problems) text += "\n  " + p;
  throw WeightsError(text);
}

/// What the metadata of files in memory order say under "layout" (weights/mapped_model.hpp); others say nothing. Files
/// of packed weights say more.
inline constexpr const char* memory_layout = "ulna memory order 1";
inline std::string memory_layout_of(const auto& graph) {
  std::string packed;
  for (const Parameter& p : graph.parameters) {
    if (p.order == WeightOrder::pair_blocks) return std::string(memory_layout) + ", packed for bf16";
    if (p.order == WeightOrder::blocks) packed = ", packed for float";
  }
  return memory_layout + packed;
}

inline void require_file_order(const safetensors::File& file) {
  if (const auto layout = file.metadata().find("layout");
      layout != file.metadata().end() && layout->second.starts_with(memory_layout))
    throw WeightsError(file.name() + ": its numbers are in memory order, for map_model; load_weights and load_model " +
                       "take the files of save_weights");
}

/// Tensors that are no weights: a counter of PyTorch's batch norm, and the sample of weights/sample.hpp.
inline bool is_bookkeeping(const std::string& name) {
  return name.ends_with("num_batches_tracked") || name == "sample.input" || name == "sample.output";
}

/// Refuses a file whose tensors agree but which says that it was written for another architecture. Files that say
/// nothing pass: those of other implementations. `whole`: of the network that this one is a part of, or its own.
inline void require_architecture(const safetensors::File& file, std::uint64_t own, std::uint64_t whole) {
  const auto entry = file.metadata().find("architecture");
  if (entry == file.metadata().end() || entry->second == hexadecimal(own) || entry->second == hexadecimal(whole))
    return;
  throw WeightsError(file.name() + ": every tensor agrees, but the file is of architecture " + entry->second +
                     " and this network is " + hexadecimal(own) +
                     ": the same tensors mean something else there (another activation, upsampling, order of "
                     "concatenation ...); load them into the network that wrote them");
}

}  // namespace detail

/// What a file carries besides the weights, and what it calls them.
struct SaveOptions {
  safetensors::Metadata metadata = {};  ///< free text
  NameMap map = own_name;               ///< for files that other implementations read
};

namespace detail {
/// Writes a model and whatever `add_more(writer)` adds.
template <class P, class T>
void save_model(const Model<P, T>& model, const std::filesystem::path& path, SaveOptions options, auto&& add_more) {
  options.metadata["format"] = "pt";
  options.metadata["architecture"] = hexadecimal(architecture_hash(model.graph()));
  safetensors::Writer writer{std::move(options.metadata)};
  FileOrdered<T> tensors;
  tensors.add(
      model.graph(), writer, options.map, [&](const Parameter& p) { return model.values(p); },
      [](const Parameter&) { return true; });
  add_more(writer);
  writer.save(path);
}
}  // namespace detail

/// Writes parameters and running statistics, whole or not at all. Throws FileError.
template <class P, class T>
void save_weights(const Model<P, T>& model, const std::filesystem::path& path, SaveOptions options = {}) {
  detail::save_model(model, path, std::move(options), [](safetensors::Writer&) {});
}

/// Fills the model from a file, or throws WeightsError with every missing, unexpected and mis-shaped tensor and leaves
/// the model as it was. A pruned network also takes files of the whole.
template <class P, class T>
void load_weights(Model<P, T>& model, const safetensors::File& file, const NameMap& map = own_name) {
  constexpr const auto& whole = detail::WholeProgram<P>::type::inference.graph;
  detail::require_file_order(file);
  detail::require_tensors(file, detail::tensor_shapes(model.graph(), map), detail::is_bookkeeping,
                          detail::tensor_shapes(whole, map));
  detail::require_architecture(file, architecture_hash(model.graph()), architecture_hash(whole));
  std::vector<const safetensors::Tensor*> tensors;
  std::vector<safetensors::Elements<T>> values;  // before anything changes: a tensor of an odd type throws here
  for (const Parameter& p : model.graph().parameters) {
    tensors.push_back(&file.at(map(name_of(model.graph(), p))));
    values.push_back(tensors.back()->template elements<T>());
  }
  std::size_t i = 0;
  for (const Parameter& p : model.graph().parameters) {
    to_memory_order<T>(p, values[i].span(), model.mutable_values(p));
    file.forget(*tensors[i++]);
  }
}

template <class P, class T>
void load_weights(Model<P, T>& model, const std::filesystem::path& path, const NameMap& map = own_name) {
  load_weights(model, safetensors::File::open(path), map);
}

/// A model with the numbers of a file; see load_weights. Nothing is drawn or held twice.
template <class P, class T = float>
Model<P, T> load_model(const std::filesystem::path& path, const NameMap& map = own_name) {
  Model<P, T> model{zeros};
  load_weights(model, path, map);
  return model;
}

}  // namespace ulna
