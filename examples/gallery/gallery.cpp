// SPDX-License-Identifier: MIT
// Makes the gallery: the overview of each network in Graphviz's DOT language, and what it finds in a generated image
// after a short training.
#include <filesystem>
#include <iostream>
#include <ulna/data/image_file.hpp>
#include <ulna/file.hpp>
#include <ulna/metric/score.hpp>
#include <ulna/model/fcn.hpp>
#include <ulna/model/published_unets.hpp>
#include <ulna/model/r2_unet.hpp>
#include <ulna/model/trans_unet.hpp>
#include <ulna/model/unet_plus_plus.hpp>
#include <ulna/report/contact_sheet.hpp>
#include <ulna/report/overlay.hpp>
#include <ulna/ulna.hpp>

namespace {

constexpr int crop = 128;
constexpr int size = 192;  // of the image shown
constexpr int train_size = 256;
constexpr int steps = 300;
constexpr int batch = 4;
constexpr int width = 8;
using Backend = ulna::cpu::Tbb<float>;
using Dice = ulna::metric::Score<ulna::metric::Dice<>, ulna::metric::PerImageMean>;

struct Gallery {
  std::string folder;
  std::vector<ulna::Sample> train;
  ulna::Sample test;  ///< normalised
  ulna::ImageArray test_stored;
  ulna::report::ContactSheet sheet{{"image", "truth", "found", "comparison"}, ulna::report::overlay_legend()};
};

Gallery opened(const std::string& folder) {
  Gallery g{
      .folder = folder, .train = {}, .test = ulna::synthetic_cells(size, size, ulna::Seed{1}, 24), .test_stored = {}};
  for (std::uint64_t i = 0; i < 24; ++i)
    g.train.push_back(ulna::synthetic_cells(train_size, train_size, ulna::Seed{1}, i));
  g.test_stored = g.test.image;
  for (auto& s : g.train) ulna::normalize(s.image, ulna::ZScore{}, s.name);
  ulna::normalize(g.test.image, ulna::ZScore{}, g.test.name);
  return g;
}

template <class Net>
auto trained(const Gallery& g) {
  using P = ulna::Program<Net, ulna::Image<1, crop, crop>>;
  ulna::Model<P> model{ulna::Seed{1}};
  ulna::Loader loader{g.train, ulna::Augmentation::dihedral(), batch, crop, crop, ulna::Seed{1}};
  ulna::Trainer<P, ulna::DiceCrossEntropy, Backend> trainer{
      model, ulna::Adam{.learning_rate = 2e-3}, {.batch = batch, .schedule = ulna::schedule::cosine(steps)}};
  ulna::fit(trainer, loader, steps, {});
  return model;
}

/// The test image as blended windows of the crop's extent, which every network can do.
template <class Net>
void exhibit(Gallery& g, const std::string& name, const std::string& title) {
  using P = ulna::Program<Net, ulna::Image<1, crop, crop>>;
  ulna::write_file_atomically(g.folder + "/" + name + ".dot", [](ulna::FileSink& sink) { sink.write(P::overview()); });
  auto model = trained<Net>(g);
  const ulna::LabelArray found = ulna::segment_blended<Backend>(model, g.test.image);
  Dice dice{2};
  dice.add(found, g.test.labels);
  const std::string score = std::to_string(dice.value()).substr(0, 5);
  std::cout << title << ": " << P::parameter_count << " parameters, " << P::macs / 1'000'000 << " million MACs, Dice "
            << score << std::endl;
  g.sheet.add_row(title + "  Dice " + score,
                  {ulna::report::to_picture(g.test_stored), ulna::report::mask_picture(g.test.labels),
                   ulna::report::mask_picture(found), ulna::report::overlay(g.test_stored, found, g.test.labels)});
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace ulna;
  Gallery g = opened(argc > 1 ? argv[1] : "out/gallery");
  std::filesystem::create_directories(g.folder);
  exhibit<UNet<Width<width>>>(g, "unet", "U-Net");
  exhibit<UNetPlusPlus<Width<width>, DeepSupervision<>>>(g, "unet_plus_plus", "U-Net++");
  exhibit<R2UNet<Width<width>>>(g, "r2_unet", "R2U-Net");
  exhibit<AttentionUNet<Width<width>>>(g, "attention_unet", "Attention U-Net");
  exhibit<R2AttUNet<Width<width>>>(g, "r2_att_unet", "R2AttU-Net");
  exhibit<FCN<Width<width>, norm::Batch>>(g, "fcn8s", "FCN-8s");
  exhibit<TransUNet<Classes<2>, Width<width>, Groups<8>, Units<1, 1, 2>, Hidden<64>, Layers<4>, Heads<4>, Mlp<256>,
                    Bridge<64>, Decoder<64, 32, 16, 8>>>(g, "trans_unet", "TransUNet, small");
  write_png(g.folder + "/gallery.png", g.sheet.render());
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
