// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "temporary_folder.hpp"
#include "ulna/data/folder.hpp"

using namespace ulna;
using namespace ulna::testing;

namespace {

LabelArray filled(int height, int width, int value) {
  auto labels = make_labels(height, width);
  std::fill(labels.data(), labels.data() + labels.size(), static_cast<std::uint8_t>(value));
  return labels;
}

/// A folder with the given pairs; every image is 6 x 5, its grey value its number, its mask half 255.
struct Folder : TemporaryFolder {
  explicit Folder(const std::vector<std::string>& stems) {
    std::filesystem::create_directories(*this / "images");
    std::filesystem::create_directories(*this / "masks");
    for (std::size_t i = 0; i < stems.size(); ++i) add(stems[i], static_cast<int>(i));
  }
  void add(const std::string& stem, int grey) {
    write_png(*this / ("images/" + stem + ".png"), filled(6, 5, grey));
    auto mask = filled(6, 5, 0);
    for (std::size_t column = 0; column < 5; ++column) mask(2, column) = 255;
    write_png(*this / ("masks/" + stem + ".png"), mask);
  }
  std::string refusal(const FolderOptions& options = {}) const {
    return message_of<Error>([&] { FolderDataset dataset(path(), options); });
  }
};

std::vector<std::string> names(const std::vector<Sample>& samples) {
  std::vector<std::string> result;
  for (const Sample& sample : samples) result.push_back(sample.name);
  return result;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a folder without lists: stems sorted, every fifth to test") {
  const Folder folder({"f", "a", "e", "b", "d", "c"});
  const FolderDataset dataset(folder.path());
  CHECK(names(dataset.train()) == Names{"a", "b", "c", "d", "f"});
  CHECK(names(dataset.test()) == Names{"e"});
  CHECK(dataset.validation().empty());
  const Sample& sample = dataset.train().front();  // "a" was written with grey value 1
  CHECK(sample.image(3, 3, 0) == 1);
  CHECK(sample.labels(2, 0) == 1);
  CHECK(sample.labels(3, 0) == 0);
  CHECK_FALSE(sample.has_weights());
}

TEST_CASE("automatic_split does not depend on the order of names and always tests on something") {
  const Split split = automatic_split({"3", "1", "2", "4", "6", "5", "9", "8", "7", "99"});
  CHECK(split.test == Names{"5", "99"});
  CHECK(split.train.size() == 8);
  CHECK(automatic_split({"b", "a"}).test == Names{"b"});
  CHECK(automatic_split({"b", "a"}).train == Names{"a"});
}

TEST_CASE("lists decide the split; what no list names goes to the part whose list is missing") {
  const Folder folder({"a", "b", "c", "d", "e"});
  write_text(folder / "test.txt", "d\r\n\n  b \r\n");
  CHECK(names(FolderDataset(folder.path()).test()) == Names{"d", "b"});
  CHECK(names(FolderDataset(folder.path()).train()) == Names{"a", "c", "e"});
  write_text(folder / "val.txt", "e\n");
  CHECK(names(FolderDataset(folder.path()).train()) == Names{"a", "c"});
  CHECK(names(FolderDataset(folder.path()).validation()) == Names{"e"});
  write_text(folder / "train.txt", "c");
  CHECK(names(FolderDataset(folder.path()).train()) == Names{"c"});
  std::filesystem::remove(folder / "test.txt");
  CHECK(names(FolderDataset(folder.path()).test()) == Names{"a", "b", "d"});
}

TEST_CASE("lists that cannot be meant are refused") {
  const Folder folder({"a", "b", "c"});
  write_text(folder / "train.txt", "a\nz\n");
  CHECK(contains(folder.refusal(), "train.txt' lists 'z'"));
  write_text(folder / "train.txt", "a\nb.png\n");
  CHECK(contains(folder.refusal(), "without folder and extension"));
  write_text(folder / "train.txt", "a\nb\n");
  write_text(folder / "test.txt", "c\na\n");
  CHECK(contains(folder.refusal(), "'a' is listed in train.txt and again in test.txt"));
  write_text(folder / "test.txt", "\n \n");
  CHECK(contains(folder.refusal(), "test.txt' is empty"));
  write_text(folder / "train.txt", "a\nb\nc\n");
  std::filesystem::remove(folder / "test.txt");
  CHECK(contains(folder.refusal(), "3 to train on and 0 to test on"));
}

TEST_CASE("missing folders, missing masks and clashing names are refused") {
  Folder folder({"a", "b"});
  CHECK(contains(message_of<FileError>([&] { FolderDataset dataset(folder / "none"); }), "none' does not exist"));
  std::filesystem::remove(folder / "masks/b.png");
  CHECK(contains(folder.refusal(), "b.png' has no mask"));
  write_tiff(folder / "masks/b.tif", filled(6, 5, 0));
  CHECK(folder.refusal() == "(nothing was thrown)");
  write_tiff(folder / "images/b.TIFF", filled(6, 5, 0));
  CHECK(contains(folder.refusal(), "same stem"));
  std::filesystem::remove_all(folder / "masks");
  std::filesystem::remove(folder / "images/b.TIFF");
  CHECK(contains(folder.refusal(), "masks' does not exist"));
  std::filesystem::create_directory(folder / "masks");
  CHECK(contains(folder.refusal(), "holds no image"));
}

TEST_CASE("files that are no images or hidden do not count; one pair alone is too few") {
  const Folder folder({"a"});
  write_text(folder / "images/notes.txt", "-");
  write_text(folder / "images/.hidden.png", "-");
  CHECK(contains(folder.refusal(), "1 images, 0 to train on and 1 to test on"));
}

TEST_CASE("a mask of another size, a truncated image and an unexpected bit depth are named") {
  Folder folder({"a", "b"});
  write_png(folder / "masks/b.png", filled(5, 6, 0));
  const auto text = folder.refusal();
  CHECK(contains(text, "b.png' is 6 x 5 x 1"));
  CHECK(contains(text, "5 x 6; both"));
  folder.add("b", 1);
  const std::string whole = read_text(folder / "images/a.png");
  write_text(folder / "images/a.png", whole.substr(0, whole.size() / 2));
  CHECK(contains(folder.refusal(), "a.png' is not a whole PNG"));
  write_png(folder / "images/a.png", xt::xtensor<std::uint16_t, 2>(xt::xtensor<std::uint16_t, 2>::shape_type{6, 5}, 9));
  CHECK(folder.refusal() == "(nothing was thrown)");
  FolderOptions options;
  options.image.bits = 8;
  CHECK(contains(folder.refusal(options), "16 bits per channel where 8 were expected"));
}

TEST_CASE("class indices out of range name file, pixel, value and what is allowed") {
  const Folder folder({"a", "b"});
  auto mask = filled(6, 5, 2);
  mask(4, 3) = 3;
  write_png(folder / "masks/b.png", mask);
  FolderOptions options;
  options.classes = 3;
  options.labels = LabelRule::indices;
  write_png(folder / "masks/a.png", filled(6, 5, 0));
  const auto text = folder.refusal(options);
  CHECK(contains(text, "b.png'"));
  CHECK(contains(text, "row 4, column 3"));
  CHECK(contains(text, "value 3"));
  CHECK(contains(text, "0..2"));
  options.classes = 4;
  CHECK(FolderDataset(folder.path(), options).test()[0].labels(4, 3) == 3);
}

TEST_CASE("label rules") {
  const auto applied = [](std::vector<std::uint8_t> values, LabelRule rule, int classes, bool invert) {
    auto labels = labels_from(values, 1, static_cast<int>(values.size()));
    apply_label_rule(labels, rule, classes, invert, "m.png");
    return std::vector<int>(labels.begin(), labels.end());
  };
  using Values = std::vector<int>;
  CHECK(applied({0, 7, 255}, LabelRule::binary, 2, false) == Values{0, 1, 1});
  CHECK(applied({0, 7, 255}, LabelRule::binary, 2, true) == Values{1, 0, 0});
  CHECK(applied({0, 255}, LabelRule::automatic, 2, false) == Values{0, 1});
  CHECK(applied({0, 255}, LabelRule::automatic, 2, true) == Values{1, 0});
  CHECK(applied({0, 1}, LabelRule::automatic, 2, false) == Values{0, 1});
  CHECK(applied({0, 1}, LabelRule::automatic, 2, true) == Values{1, 0});
  CHECK(applied({0, 2, 1}, LabelRule::automatic, 3, false) == Values{0, 2, 1});
  CHECK_THROWS_AS(applied({0, 1, 255}, LabelRule::automatic, 2, false), DataError);
  CHECK_THROWS_AS(applied({0, 255}, LabelRule::indices, 2, false), DataError);
  CHECK_THROWS_AS(applied({0, 255}, LabelRule::automatic, 4, false), DataError);
  CHECK_THROWS_AS(applied({0}, LabelRule::binary, 3, false), ArgumentError);
  CHECK_THROWS_AS(applied({0}, LabelRule::indices, 3, true), ArgumentError);
  CHECK_THROWS_AS(applied({0}, LabelRule::indices, 1, false), ArgumentError);
}
