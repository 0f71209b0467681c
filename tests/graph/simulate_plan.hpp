// SPDX-License-Identifier: MIT
// Runs a plan on paper: every node writes numbers that belong to it alone into the memory it was given, and every node
// that reads must find the numbers of the values it reads. Nothing is known here of how plans are made.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "ulna/graph/lower.hpp"

namespace ulna::testing {

/// A graph with its plan, executed for a batch of `batch` samples as Executor does.
template <class CompiledGraph>
class PlanSimulation {
 public:
  PlanSimulation(const CompiledGraph& compiled, int batch)
      : graph_(compiled.graph), plan_(compiled.plan), batch_(batch) {
    memory_[static_cast<std::size_t>(Storage::arena)].resize(static_cast<std::size_t>(plan_.arena * batch), -1);
    memory_[static_cast<std::size_t>(Storage::staging)].resize(static_cast<std::size_t>(plan_.staging * batch), -1);
    memory_[static_cast<std::size_t>(Storage::persistent)].resize(static_cast<std::size_t>(plan_.persistent), -1);
    memory_[static_cast<std::size_t>(Storage::parameter)].resize(static_cast<std::size_t>(graph_.parameter_count), -1);
    memory_[static_cast<std::size_t>(Storage::state)].resize(static_cast<std::size_t>(graph_.state_count), -1);
    memory_[static_cast<std::size_t>(Storage::gradient)].resize(static_cast<std::size_t>(graph_.parameter_count), -1);
  }

  /// The first thing that is wrong, or nothing.
  std::string run() {
    for (int i = 0; i < graph_.nodes.size(); ++i)
      if (is_leaf(graph_.nodes[i].op)) write(i);
    for (const bool once : {true, false})
      for (int i = 0; i < graph_.nodes.size(); ++i)
        if (const Node& n = graph_.nodes[i]; runs(n) && n.once == once) execute(i);
    for (const int kept : {graph_.output, graph_.loss, graph_.image_gradient, graph_.output_gradient})
      if (kept >= 0) require_value(kept, "the caller");
    for (int i = 0; i < graph_.nodes.size(); ++i)
      if (is_leaf(graph_.nodes[i].op)) require_value(i, "the end");
    if (graph_.loss >= 0 && std::ranges::count(memory_[static_cast<std::size_t>(Storage::gradient)], -1) != 0)
      complain("a parameter's gradient was never written");
    return problem_;
  }

 private:
  using Cells = std::vector<std::int64_t>;

  int samples(int id) const { return graph_.nodes[id].per_sample ? batch_ : 1; }
  std::string text(int id) const {
    return "node " + std::to_string(id) + " (" + name_of(graph_.nodes[id].op) + " of " +
           path_of(graph_, graph_.nodes[id].scope) + ")";
  }
  void complain(const std::string& what) {
    if (problem_.empty()) problem_ = what;
  }

  /// Calls visit(cell, sample, pixel, channel) for every element of a value, cell < 0 if it lies outside its storage.
  void for_each_cell(int id, auto&& visit) {
    const Node& n = graph_.nodes[id];
    const Place& p = plan_.places[id];
    if (p.storage == Storage::none) return;
    const bool batched = p.storage == Storage::arena || p.storage == Storage::staging;
    const std::int64_t base = p.offset * (batched ? batch_ : 1) + p.channel_offset;
    const auto size = static_cast<std::int64_t>(storage(id).size());
    for (int s = 0; s < samples(id); ++s)
      for (std::int64_t pixel = 0; pixel < n.shape.pixels(); ++pixel)
        for (int c = 0; c < n.shape.channels; ++c) {
          const std::int64_t cell = base + (s * n.shape.pixels() + pixel) * p.pixel_stride + c;
          visit(cell >= 0 && cell < size ? cell : -1, s, pixel, c);
        }
  }
  Cells& storage(int id) { return memory_[static_cast<std::size_t>(plan_.places[id].storage)]; }

  /// The number that stands for one element. Slices and concatenations pass on the numbers of what they hold.
  std::int64_t number(int id, int sample, std::int64_t pixel, int c) const {
    const Node& n = graph_.nodes[id];
    if (n.op == Op::slice) return number(n.input[0], sample, pixel, c + n.begin);
    if (n.op == Op::concat) {
      std::size_t k = 0;
      while (c >= graph_.nodes[n.input[k]].shape.channels) c -= graph_.nodes[n.input[k++]].shape.channels;
      return number(n.input[k], sample, pixel, c);
    }
    // What is added to a parameter's gradient goes on standing for that gradient.
    const std::int64_t owner = n.gradient_of >= 0 ? -2 - n.gradient_of : id;
    return (owner << 40) + (sample * n.shape.pixels() + pixel) * n.shape.channels + c;
  }

  void write(int id) {
    for_each_cell(id, [&](std::int64_t cell, int s, std::int64_t pixel, int c) {
      if (cell < 0)
        complain(text(id) + " lies outside its storage");
      else
        storage(id)[static_cast<std::size_t>(cell)] = number(id, s, pixel, c);
    });
  }

  void require_value(int id, const std::string& reader) {
    for_each_cell(id, [&](std::int64_t cell, int s, std::int64_t pixel, int c) {
      if (cell < 0 || storage(id)[static_cast<std::size_t>(cell)] != number(id, s, pixel, c))
        complain(reader + " reads " + text(id) + ", which was overwritten at sample " + std::to_string(s) + ", pixel " +
                 std::to_string(pixel) + ", channel " + std::to_string(c));
    });
  }

  bool same_place(int a, int b) const {
    const Place& p = plan_.places[a];
    const Place& q = plan_.places[b];
    return p.storage == q.storage && p.offset == q.offset && p.channel_offset == q.channel_offset &&
           p.pixel_stride == q.pixel_stride && graph_.nodes[a].shape == graph_.nodes[b].shape;
  }

  /// Whether value x has an element among `cells` of the storage of value `id`.
  bool touches(int x, int id, const std::set<std::int64_t>& cells) {
    bool touched = false;
    if (plan_.places[x].storage == plan_.places[id].storage)
      for_each_cell(x, [&](std::int64_t cell, int, std::int64_t, int) { touched = touched || cells.contains(cell); });
    return touched;
  }

  void execute(int id) {
    const Node& n = graph_.nodes[id];
    for (const int x : n.input)
      if (x >= 0) require_value(x, text(id));
    if (n.op == Op::concat) {
      check_copies(id);
    } else {
      const int in_place = n.residual != ResidualSum::none
                               ? residual_input
                               : with_rule(n.op, [](auto rule) { return decltype(rule)::in_place; });
      std::set<std::int64_t> mine;
      for_each_cell(id, [&](std::int64_t cell, int, std::int64_t, int) { mine.insert(cell); });
      for (int k = 0; k < n.inputs(); ++k) {
        const int x = n.input[static_cast<std::size_t>(k)];
        if (x >= 0 && !(k == in_place && same_place(x, id)) && touches(x, id, mine))
          complain(text(id) + " writes over its own input, " + text(x));
      }
    }
    write(id);
    if (const int pool = pool_of(graph_, id); pool >= 0) write_pool(pool, id);
  }

  /// What a convolution computes beside its own output.
  void write_pool(int pool, int id) {
    std::set<std::int64_t> mine;
    for_each_cell(pool, [&](std::int64_t cell, int, std::int64_t, int) { mine.insert(cell); });
    if (touches(id, pool, mine)) complain(text(pool) + " lies where " + text(id) + " does");
    for (const int x : graph_.nodes[id].input)
      if (x >= 0 && touches(x, pool, mine)) complain(text(pool) + " is written over " + text(x));
    write(pool);
  }

  /// An input of a concatenation lies where it belongs, or is copied there without harm to any input.
  void check_copies(int id) {
    const Node& n = graph_.nodes[id];
    const Place& whole = plan_.places[id];
    int begin = 0;
    for (int k = 0; k < n.inputs(); ++k) {
      const int x = n.input[static_cast<std::size_t>(k)];
      const int end = begin + graph_.nodes[x].shape.channels;
      const Place& p = plan_.places[x];
      const bool there = p.storage == whole.storage && p.offset == whole.offset &&
                         p.channel_offset == whole.channel_offset + begin && p.pixel_stride == whole.pixel_stride;
      std::set<std::int64_t> destination;
      for_each_cell(id, [&](std::int64_t cell, int, std::int64_t, int c) {
        if (c >= begin && c < end) destination.insert(cell);
      });
      for (int other = 0; !there && other < n.inputs(); ++other)
        if (const int y = n.input[static_cast<std::size_t>(other)]; touches(y, id, destination))
          complain(text(id) + " copies " + text(x) + " over " + text(y));
      begin = end;
    }
  }

  const decltype(CompiledGraph::graph)& graph_;
  const decltype(CompiledGraph::plan)& plan_;
  int batch_;
  std::array<Cells, 7> memory_{};
  std::string problem_;
};

}  // namespace ulna::testing
