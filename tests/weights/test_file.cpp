// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "temporary_folder.hpp"
#include "ulna/file.hpp"

namespace fs = std::filesystem;
using ulna::FileError;
using ulna::FileSink;
using ulna::write_file_atomically;

namespace {

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

auto entries(const fs::path& folder) { return std::distance(fs::directory_iterator(folder), {}); }

/// Files cannot grow beyond `bytes` while this lives: the kernel refuses the write as a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace

TEST_CASE("a file is written and replaced") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.txt";
  write_file_atomically(path, "first");
  CHECK(content(path) == "first");
  write_file_atomically(path, [](FileSink& sink) {
    sink.write("se");
    sink.write("");
    sink.write("cond");
  });
  CHECK(content(path) == "second");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a failure in the middle leaves the previous file and nothing else") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.txt";
  write_file_atomically(path, "before");
  const auto fail = [](FileSink& sink) {
    sink.write("half");
    throw std::runtime_error("stop");
  };
  CHECK_THROWS_WITH(write_file_atomically(path, fail), "stop");
  CHECK(content(path) == "before");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a full disk is an error that leaves the previous file") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.txt";
  write_file_atomically(path, "before");
  std::string message;
  {
    const FileSizeLimit limit(100'000);
    try {
      write_file_atomically(path, std::string(1'000'000, 'x'));
    } catch (const FileError& error) {
      message = error.what();
    }
  }
  CHECK(message == "cannot write " + path.string() + ": File too large; what was there before is unchanged");
  CHECK(content(path) == "before");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a killed process leaves the previous file") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.txt";
  write_file_atomically(path, "before");
  const pid_t child = fork();
  if (child == 0) {
    write_file_atomically(path, [](FileSink& sink) {
      sink.write("half");
      raise(SIGKILL);
    });
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(content(path) == "before");
}

TEST_CASE("targets that are no ordinary file") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(write_file_atomically(folder.path(), "x"), FileError);
  CHECK_THROWS_AS(write_file_atomically("/dev/full", "x"), FileError);
  CHECK(fs::is_character_file("/dev/full"));
  CHECK_THROWS_WITH(write_file_atomically(folder.path() / "no" / "a", "x"),
                    doctest::Contains("does its folder exist?"));
  write_file_atomically(folder.path() / "real", "old");
  fs::create_symlink("real", folder.path() / "link");
  write_file_atomically(folder.path() / "link", "new");
  CHECK(fs::is_symlink(folder.path() / "link"));
  CHECK(content(folder.path() / "real") == "new");
}

TEST_CASE("mapped files") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.bin";
  CHECK_THROWS_WITH_AS(ulna::MappedFile{path}, ("cannot read " + path.string() + ": No such file or directory").c_str(),
                       FileError);
  CHECK_THROWS_AS(ulna::MappedFile{folder.path()}, FileError);
  write_file_atomically(path, "");
  CHECK(ulna::MappedFile(path).bytes().empty());
  write_file_atomically(path, "abc");
  ulna::MappedFile mapped(path);
  write_file_atomically(path, "something else");
  const ulna::MappedFile moved = std::move(mapped);
  REQUIRE(moved.bytes().size() == 3);
  CHECK(moved.bytes()[2] == std::byte{'c'});
}
