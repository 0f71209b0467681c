// SPDX-License-Identifier: MIT
// A profile as a line of JSON, for benchmarks/run.sh --cuda.
#pragma once

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <string>
#include <ulna/runtime/profile.hpp>

namespace networks {

/// Of a product: the fewest channels of its images; 0: no product of images by weights.
inline int product_channels(const auto& graph, const ulna::Node& n) {
  switch (n.op) {
    case ulna::Op::convolution:
    case ulna::Op::transposed_convolution:
      return std::min(graph.input(n, 0).shape.channels, n.shape.channels);
    case ulna::Op::convolution_weight_gradient:
      return std::min(graph.input(n, 0).shape.channels, graph.input(n, 1).shape.channels);
    default:
      return 0;
  }
}

/// Paths and ops hold no character that JSON would escape.
inline std::string json_of(const ulna::Profile& profile, const auto& graph) {
  std::ostringstream out;
  out << std::setprecision(9) << R"({"batch": )" << profile.batch << R"(, "seconds": )" << profile.seconds
      << R"(, "flops": )" << profile.machine.flops << R"(, "bytes_per_second": )" << profile.machine.bytes_per_second
      << R"(, "nodes": [)";
  for (const ulna::ProfileRow& row : profile.rows)
    out << (&row == &profile.rows.front() ? "" : ", ") << R"({"path": ")" << row.path << R"(", "op": ")" << row.op
        << R"(", "shape": ")" << ulna::detail::extents(row.shape) << R"(", "channels": )"
        << product_channels(graph, graph.nodes[row.node]) << R"(, "macs": )" << row.cost.macs << R"(, "bytes": )"
        << row.cost.bytes() << R"(, "seconds": )" << row.seconds << "}";
  out << "]}";
  return out.str();
}

/// The same of what went wrong.
inline std::string json_of(const std::exception& error) {
  std::string words = error.what();
  std::replace_if(
      words.begin(), words.end(), [](unsigned char c) { return c == '"' || c == '\\' || c < ' '; }, '\'');
  return R"({"error": ")" + words + R"("})";
}

}  // namespace networks
