// SPDX-License-Identifier: MIT
// Weights of a mapped file that do not stay in memory: the pages of a weight are given back when the last node that
// reads it has run, and are the file's again at the next inference. Memory is then that of the activations and of the
// largest weights instead of all. The numbers are the same to the bit; every inference (each tile of a segmentation is
// one) maps the pages anew, which took two cores 0.04 ms a megabyte, and reads the file where the system has dropped it
// from its cache meanwhile. For devices with little memory and networks that run now and then, not for a server.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ulna/file.hpp"
#include "ulna/graph/graph.hpp"

namespace ulna {

/// How much of a mapped model stays in memory between inferences: at most the first `bytes` of its parameters. With
/// the default everything does that was read. See runtime/weight_stream.hpp for what less costs.
struct Residency {
  std::size_t bytes = SIZE_MAX;
};

/// The file whose pages a model's parameters are, when not all of them are to stay in memory.
struct StreamedFile {
  std::shared_ptr<const MappedFile> file{};
  Residency residency{};
};

/// The weights of a planned graph that are given back, in the order in which they have been read.
class WeightStream {
 public:
  WeightStream() = default;

  /// `parameters`: all of the graph's, in memory of the file.
  template <class T>
  WeightStream(const auto& graph, std::span<const T> parameters, StreamedFile from) : file_(std::move(from.file)) {
    std::vector<int> reader(static_cast<std::size_t>(graph.parameters.size()), -1);
    for (int i = 0; i < graph.nodes.size(); ++i)
      for (const int x : graph.nodes[i].input)
        if (x >= 0 && !graph.nodes[i].once && graph.nodes[x].op == Op::parameter)
          reader[static_cast<std::size_t>(graph.nodes[x].parameter)] = i;
    for (int k = 0; k < graph.parameters.size(); ++k) {
      const Parameter& p = graph.parameters[k];
      if (!is_trainable(p.kind)) continue;
      const auto begin = static_cast<std::size_t>(p.offset);
      const auto bytes = std::as_bytes(parameters.subspan(begin, static_cast<std::size_t>(p.size())));
      if (bytes.size() < least || begin * sizeof(T) + bytes.size() <= from.residency.bytes) continue;
      parts_.push_back({reader[static_cast<std::size_t>(k)], bytes});
    }
    std::ranges::stable_sort(parts_, {}, &Part::reader);
  }

  explicit operator bool() const { return !parts_.empty(); }

  /// Gives back what only those nodes read that run when parameters change.
  void after_once() const {
    for (const Part& part : parts_)
      if (part.reader < 0) file_->forget_around(part.bytes);
  }

  /// For one run: called after each node, in order, it gives back what nobody reads again.
  auto follow() const {
    return [this, next = first_of_run()](int node) mutable {
      for (; next < parts_.size() && parts_[next].reader <= node; ++next) file_->forget_around(parts_[next].bytes);
    };
  }

 private:
  struct Part {
    int reader = -1;  ///< the last
    std::span<const std::byte> bytes{};
  };

  /// Smaller ones share pages with others.
  static constexpr std::size_t least = std::size_t{64} << 10;

  std::size_t first_of_run() const {
    const auto once = std::ranges::count_if(parts_, [](const Part& part) { return part.reader < 0; });
    return static_cast<std::size_t>(once);
  }

  std::shared_ptr<const MappedFile> file_;
  std::vector<Part> parts_;
};

}  // namespace ulna
