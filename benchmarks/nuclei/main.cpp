// SPDX-License-Identifier: MIT
// Trains networks of the family by one recipe on a folder of nuclei and prints a line of JSON for each.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "networks.hpp"

int main(int argc, char** argv) try {
  std::string folder;
  std::vector<std::string> wanted;
  std::vector<std::uint64_t> seeds{1};
  nuclei::Options options;
  CLI::App app{"Trains networks of the family by one recipe on a folder of nuclei; one line of JSON for each result."};
  std::vector<std::string> names;
  for (const auto& n : nuclei::networks) names.emplace_back(n.name);
  app.add_option("DIR", folder, "images/, masks/, train.txt and test.txt")->required()->check(CLI::ExistingDirectory);
  app.add_option("--network", wanted, "which (default: all)")->check(CLI::IsMember(names));
  app.add_option("--seed", seeds, "one run for each")->capture_default_str();
  app.add_option("--steps", options.steps, "training steps")->capture_default_str()->check(CLI::Range(1, 1000000));
  CLI11_PARSE(app, argc, argv);
  const nuclei::Data data = nuclei::load(folder);
  for (const auto& n : nuclei::networks) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), n.name) == wanted.end()) continue;
    for (const std::uint64_t seed : seeds) {
      options.seed = seed;
      for (const nuclei::Result& r : n.run(data, options)) {
        const nlohmann::ordered_json line{{"network", r.network},
                                          {"seed", seed},
                                          {"steps", options.steps},
                                          {"parameters", r.parameters},
                                          {"macs_256", r.macs},
                                          {"iou", r.iou},
                                          {"dice", r.dice},
                                          {"training_seconds", r.training_seconds},
                                          {"inference_seconds", r.inference_seconds}};
        std::cout << line.dump() << std::endl;
      }
    }
  }
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
