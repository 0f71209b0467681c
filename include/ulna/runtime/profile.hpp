// SPDX-License-Identifier: MIT
// Where the time of a run goes, node by node, beside what each node costs. A backend with memory of its own measures
// itself (backend/cuda/device_graph.hpp).
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ulna/graph/cost.hpp"
#include "ulna/graph/summary.hpp"
#include "ulna/runtime/executor.hpp"
#include "ulna/runtime/machine.hpp"

namespace ulna {

/// How a profile is taken.
struct ProfileOptions {
  int runs = 5;                         ///< measured runs, after one that is not
  std::optional<Machine> machine = {};  ///< of the roofline; left out: measure_machine() finds it out
};

/// A node of the graph that runs, in a profile.
struct ProfileRow {
  int node = -1;     ///< its index in the graph
  std::string path;  ///< of the layer: UNet/encoder[0]/conv1
  std::string op;    ///< convolution 3x3 + relu
  Shape shape{};     ///< of its output, one sample
  Cost cost{};       ///< for the batch
  double roofline_seconds = 0.0;
  double seconds = 0.0;  ///< median of the runs
};

/// What a run costs and takes, for a batch.
struct Profile {
  int batch = 0;
  Machine machine{};
  std::vector<ProfileRow> rows;  ///< in the order of execution
  double seconds = 0.0;          ///< of the whole run, median; of a device: without copies from and to the host

  Cost cost() const {
    Cost sum;
    for (const ProfileRow& row : rows) {
      sum.macs += row.cost.macs;
      sum.bytes_read += row.cost.bytes_read;
      sum.bytes_written += row.cost.bytes_written;
    }
    return sum;
  }
  /// Of all nodes one after the other.
  double roofline_seconds() const {
    double sum = 0.0;
    for (const ProfileRow& row : rows) sum += row.roofline_seconds;
    return sum;
  }

  /// The profile for people: a line a node, and the sums. `of roofline` is the roofline's time in percent of the one
  /// measured; faster algorithms than the op's definition (Winograd) come out above 100.
  std::string table() const {
    std::vector<std::vector<std::string>> lines{
        {"path", "op", "shape", "MACs", "bytes", "roofline us", "measured us", "% of time", "% of roofline"}};
    const auto microseconds = [](double s) { return detail::grouped(std::llround(s * 1e6)); };
    const auto percent = [](double part, double whole) {
      return whole > 0.0 ? std::to_string(std::llround(100.0 * part / whole)) : std::string("-");
    };
    for (const ProfileRow& r : rows)
      lines.push_back({r.path, r.op, detail::extents(r.shape), r.cost.macs > 0 ? detail::grouped(r.cost.macs) : "",
                       detail::grouped(r.cost.bytes()), microseconds(r.roofline_seconds), microseconds(r.seconds),
                       percent(r.seconds, seconds), percent(r.roofline_seconds, r.seconds)});
    const Cost sum = cost();
    lines.push_back({"total", "", "batch " + std::to_string(batch), detail::grouped(sum.macs),
                     detail::grouped(sum.bytes()), microseconds(roofline_seconds()), microseconds(seconds), "",
                     percent(roofline_seconds(), seconds)});
    return detail::table(lines, 3);
  }
};

namespace detail {

/// The middle value; of two, the lower.
inline double median(std::span<double> values) {
  const std::size_t middle = (values.size() - 1) / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  return values[middle];
}

/// What was measured: of each node and of whole runs, run after run.
class ProfileTimes {
 public:
  /// Throws ArgumentError unless options.runs is positive.
  ProfileTimes(int nodes, const ProfileOptions& options)
      : runs_(static_cast<std::size_t>(options.runs < 1 ? 0 : options.runs)),
        of_nodes_(static_cast<std::size_t>(nodes) * runs_),
        of_runs_(runs_) {
    if (options.runs < 1)
      throw ArgumentError("profile: runs is " + std::to_string(options.runs) + ", must be at least 1");
  }

  std::size_t runs() const { return runs_; }
  std::span<double> of_node(std::ptrdiff_t id) {
    return std::span(of_nodes_).subspan(static_cast<std::size_t>(id) * runs_, runs_);
  }
  std::span<double> of_runs() { return of_runs_; }

 private:
  std::size_t runs_;
  std::vector<double> of_nodes_;  // run after run of each node
  std::vector<double> of_runs_;
};

/// The profile of the planned graph `Planned::compiled` on backend B, from what was measured.
template <class Planned, class B>
Profile profile_of(ProfileTimes& times, int batch, const Machine& machine) {
  constexpr const auto& C = Planned::compiled;
  Profile result{.batch = batch, .machine = machine, .rows = {}, .seconds = median(times.of_runs())};
  constexpr ElementBytes bytes{static_cast<int>(sizeof(typename B::Element)),
                               static_cast<int>(sizeof(ulna::MasterOf<B>))};
  for (int i = 0; i < C.graph.nodes.size(); ++i) {
    const Node& n = C.graph.nodes[i];
    if (!runs(n) || n.once) continue;
    ProfileRow row{.node = i, .path = path_of(C.graph, n.scope), .op = describe(n), .shape = n.shape};
    row.cost = cost_of(C, i, batch, bytes);
    row.roofline_seconds = roofline_seconds(row.cost, machine);
    row.seconds = median(times.of_node(i));
    result.rows.push_back(row);
  }
  return result;
}

/// Runs what is bound and staged, 1 + options.runs times. Throws ArgumentError unless options.runs is positive.
template <class Planned, CpuBackend B>
Profile profile(Executor<Planned, B>& executor, const B& backend, const ProfileOptions& options, Seed seed = {},
                std::uint64_t step = 0) {
  constexpr const auto& C = Planned::compiled;
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  ProfileTimes times(C.graph.nodes.size(), options);
  executor.run(seed, step);
  for (std::size_t i = 0; i < times.runs(); ++i) {
    const auto run_begin = Clock::now();
    executor.run_each(
        [&](auto kernel, const auto& call) {
          const auto begin = Clock::now();
          kernel(call);
          times.of_node(call.node - C.graph.nodes.begin())[i] = seconds(Clock::now() - begin);
        },
        seed, step);
    times.of_runs()[i] = seconds(Clock::now() - run_begin);
  }
  return profile_of<Planned, B>(times, executor.batch(), options.machine ? *options.machine : measure_machine(backend));
}

}  // namespace detail
}  // namespace ulna
