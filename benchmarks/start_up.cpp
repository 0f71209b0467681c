// SPDX-License-Identifier: MIT
// How soon a program that starts from a file of weights has its first result: U-Net of width 64 on 512 x 512 pixels.
//
//   start_up [THREADS]   (default 2)
//
// Writes the weights to a temporary folder, once as safetensors in PyTorch's order and once packed, for mapping. Then
// it starts itself fifteen times for each, and prints medians: from the start of the process to its first result, of
// one more inference, of their difference, and of the peak of resident memory.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <ulna/backend/tbb/tbb.hpp>
#include <ulna/model/unet.hpp>
#include <ulna/predict/frozen.hpp>
#include <ulna/predict/predictor.hpp>
#include <ulna/weights/mapped_model.hpp>
#include <vector>

namespace {

using P = ulna::Program<ulna::UNet<ulna::Width<64>>, ulna::Image<1, 512, 512>>;
using Backend = ulna::cpu::Tbb<float>;
constexpr int runs = 15;    ///< processes
constexpr int further = 2;  ///< inferences of each, after the first

/// What one process measured.
struct Times {
  double first;      ///< milliseconds from its start
  double warm;       ///< of a further inference
  double processor;  ///< processor time until the first result less that of a further inference
  double megabytes;
};

/// One clock for all processes.
double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What all threads of this process used so far.
double processor_milliseconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The peak of resident memory. (What getrusage() says may come from the process that started this one.)
double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  double kilobytes = 0.0;
  for (std::string word; status >> word;)
    if (word == "VmHWM:") status >> kilobytes;
  return kilobytes / 1024.0;
}

template <class Q>
Times infer(ulna::Model<Q>&& model, int threads, double start) {
  std::vector<float> image(static_cast<std::size_t>(Q::input_shape.size()));
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 97) * 0.01f;
  ulna::Predictor<Q, Backend> predictor{model, 1, Backend{threads}};
  const auto predict = [&] { predictor.predict({image, 1, Q::input_shape.height, Q::input_shape.width, 1}); };
  predict();
  Times times{milliseconds() - start, 0.0, 0.0, 0.0};
  const double spent = processor_milliseconds();
  const double before = milliseconds();
  for (int i = 0; i < further; ++i) predict();
  times.warm = (milliseconds() - before) / further;
  times.processor = spent - (processor_milliseconds() - spent) / further;
  times.megabytes = peak_megabytes();
  return times;
}

/// What a started process does: start_up THREADS WAY FILE START.
void run(char** arguments) {
  const int threads = std::atoi(arguments[1]);
  const std::string way = arguments[2];
  const double start = std::atof(arguments[4]);
  const Times t = way == "packed" ? infer(ulna::map_model<ulna::Packed<P, Backend>>(arguments[3]), threads, start)
                                  : infer(ulna::load_model<P>(arguments[3]), threads, start);
  std::printf("%.3f %.3f %.3f %.1f\n", t.first, t.warm, t.processor, t.megabytes);
}

/// Starts this program again with the arguments of run(), without a shell, whose start would count.
Times started(std::string program, std::string threads, std::string way, std::string file) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw ulna::Error("start_up: no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  char start[32];
  char* arguments[] = {program.data(), threads.data(), way.data(), file.data(), start, nullptr};
  pid_t child = 0;
  std::snprintf(start, sizeof start, "%.6f", milliseconds());
  const int failed = posix_spawn(&child, arguments[0], &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  FILE* answer = fdopen(ends[0], "r");
  Times t{};
  const bool sound = std::fscanf(answer, "%lf %lf %lf %lf", &t.first, &t.warm, &t.processor, &t.megabytes) == 4;
  std::fclose(answer);
  if (failed == 0) waitpid(child, nullptr, 0);
  if (failed != 0 || !sound) throw ulna::Error("start_up: a process gave no times");
  return t;
}

void measure(const std::string& threads) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("ulna_start_up_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  {
    const ulna::Model<P> model{ulna::Seed{1}};
    ulna::save_weights(model, folder / "safetensors");
    ulna::save_mappable(ulna::pack<Backend>(model), folder / "packed");
  }
  sync();  // or the system writes the files while processes are timed
  std::printf(
      "| weights | first result, ms | one inference, ms | difference, ms | in processor time, ms | peak RSS, MB |\n");
  std::printf("|---|---:|---:|---:|---:|---:|\n");
  for (const std::string way : {"safetensors", "packed"}) {
    std::vector<double> first, warm, difference, processor, megabytes;
    for (int i = 0; i < runs; ++i) {
      const Times t = started(program, threads, way, folder / way);
      first.push_back(t.first);
      warm.push_back(t.warm);
      difference.push_back(t.first - t.warm);
      processor.push_back(t.processor);
      megabytes.push_back(t.megabytes);
    }
    std::printf("| %s | %.1f | %.1f | %.1f | %.1f | %.0f |\n", way.c_str(), median(first), median(warm),
                median(difference), median(processor), median(megabytes));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 5)
    run(argv);
  else
    measure(argc > 1 ? argv[1] : "2");
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
