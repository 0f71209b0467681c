// SPDX-License-Identifier: MIT
// Trains networks by one recipe on a folder of cardiac slices and prints a line of JSON for each.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "recipe.hpp"

int main(int argc, char** argv) try {
  struct Entry {
    std::string name;
    acdc::Result (*run)(const acdc::Data&, const acdc::Options&);
  };
  const std::vector<Entry> networks{{"unet", acdc::unet}, {"trans_unet", acdc::trans_unet}};
  std::string folder;
  std::vector<std::string> wanted;
  acdc::Options options;
  CLI::App app{"Trains networks by one recipe on a folder of cardiac slices; one line of JSON for each."};
  app.add_option("DIR", folder, "images/, masks/, train.txt and test.txt")->required()->check(CLI::ExistingDirectory);
  app.add_option("--network", wanted, "which (default: all)")->check(CLI::IsMember({"unet", "trans_unet"}));
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--steps", options.steps)->capture_default_str()->check(CLI::Range(1, 1000000));
  CLI11_PARSE(app, argc, argv);
  const acdc::Data data = acdc::load(folder);
  for (const Entry& n : networks) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), n.name) == wanted.end()) continue;
    const acdc::Result r = n.run(data, options);
    const nlohmann::ordered_json line{{"network", r.network},
                                      {"seed", options.seed},
                                      {"steps", options.steps},
                                      {"parameters", r.parameters},
                                      {"macs_crop", r.macs},
                                      {"dice_right_ventricle", r.dice[1]},
                                      {"dice_myocardium", r.dice[2]},
                                      {"dice_left_ventricle", r.dice[3]},
                                      {"dice_mean", r.mean_dice},
                                      {"volumes", r.volumes},
                                      {"training_seconds", r.training_seconds},
                                      {"inference_seconds", r.inference_seconds}};
    std::cout << line.dump() << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
