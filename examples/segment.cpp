// SPDX-License-Identifier: MIT
// Segments an image of any size with weights that `train` wrote: a mask and an overlay.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <ulna/report/overlay.hpp>

#include "network.hpp"

namespace {

struct Arguments {
  std::string weights;
  std::string image;
  std::string mask = "mask.png";
  std::string overlay = "overlay.png";
  bool average = false;
  bool mirror = false;
};

/// The class count is written in the file: rows of the head's weight.
int classes_of(const ulna::safetensors::File& file) {
  const auto shape = file.at("head.weight").shape;
  return shape.empty() ? 0 : static_cast<int>(shape[0]);
}

template <int Classes>
void segment(const ulna::safetensors::File& weights, const Arguments& arguments) {
  ulna::Model<example::Program<Classes, example::small_tile>> model{ulna::zeros};
  ulna::load_weights(model, weights);
  const ulna::ImageArray stored = ulna::read_image(arguments.image, {.grey = true});
  example::AnySize segmenter{model,
                             {.small_image = arguments.mirror ? ulna::SmallImage::mirror : ulna::SmallImage::refuse,
                              .dihedral = arguments.average}};
  ulna::LabelArray labels = segmenter.labels(example::prepared(stored, arguments.image));
  ulna::write_png(arguments.overlay, ulna::report::overlay(stored, labels));
  if (Classes == 2)
    for (std::uint8_t& v : labels) v = v != 0 ? 255 : 0;
  ulna::write_png(arguments.mask, labels);
  std::cout << "wrote " << arguments.mask << " and " << arguments.overlay << '\n';
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  CLI::App app{"Segments an image of any size with weights that train wrote."};
  app.add_option("weights", arguments.weights, "a .safetensors file")->required();
  app.add_option("image", arguments.image, "a PNG or TIFF")->required();
  app.add_option("--mask", arguments.mask, "the mask to write (two classes: 0 and 255, else class indices)")
      ->capture_default_str();
  app.add_option("--overlay", arguments.overlay, "the overlay to write")->capture_default_str();
  app.add_flag("--average", arguments.average, "mean over the 8 flips and right-angle turns");
  app.add_flag("--mirror", arguments.mirror, "extend an image smaller than one tile by mirroring");
  CLI11_PARSE(app, argc, argv);
  const auto weights = ulna::safetensors::File::open(arguments.weights);
  example::with_classes(classes_of(weights), [&]<int Classes>() { segment<Classes>(weights, arguments); });
} catch (const ulna::Error& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
