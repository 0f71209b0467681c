#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: examples/quickstart.sh [--device cpu|cuda] [DIR] [options]

Trains a U-Net and shows what it learnt. Installs what is missing (Debian, Ubuntu; it says what first), builds the
example program `train` in build/quickstart, and runs it in the present folder.

  --device      cuda: trains and tests on the first NVIDIA device (compute capability 8.0 or more; needs the CUDA
                Toolkit 12 or newer). The program is then `train_on_device` in build/quickstart-cuda. Default: cpu

  without DIR   on images it generates: textured cells with thin membranes
  DIR           on the images of DIR/images with the masks of DIR/masks, which bear the same names. The lists
                DIR/train.txt and DIR/test.txt (a name a line, without its ending) say which are trained and tested
                on; without them one image in five is kept for the test.
  options       are handed to the program: --steps N, --batch N, --seed N, --out FOLDER, --resume and more (once it is
                built, --help lists all)

Prints one table (U-Net, Otsu's threshold, a constant prediction: pixel error, Dice, IoU on images it was not trained
on) and writes overlays, a loss curve, the weights and results.json to out/.
TEXT
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"

device=cpu
arguments=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --device)
      device=${2:-}
      shift $(($# > 1 ? 2 : 1))
      ;;
    --device=*)
      device=${1#*=}
      shift
      ;;
    *)
      arguments+=("$1")
      shift
      ;;
  esac
done
set -- ${arguments[@]+"${arguments[@]}"}
build=$root/build/quickstart
name=train
case $device in
  cpu) ;;
  cuda)
    build=$build-cuda
    name=train_on_device
    ;;
  *) ulna_fail "--device is '$device', must be cpu or cuda" ;;
esac
program=$build/examples/$name

for argument in "$@"; do
  if [[ $argument == --help || $argument == -h ]]; then
    usage
    if [[ -x $program ]]; then
      printf '\nThe program:\n\n'
      "$program" --help
    fi
    exit 0
  fi
done

# Said now, not after minutes of installing and building.
if [[ $# -gt 0 && $1 != -* ]]; then
  [[ -d $1 ]] || ulna_fail "there is no folder '$1'. It should hold images/ and masks/ (see --help)."
  for part in images masks; do
    [[ -d $1/$part ]] || ulna_fail "'$1' has no folder $part/. It should hold images/ and masks/ (see --help)."
  done
fi

configuration=()
jobs=$(ulna_jobs)
if [[ $device == cuda ]]; then
  ulna_require_cuda
  configuration=(-DULNA_BUILD_CUDA_EXAMPLE=ON "-DCMAKE_CUDA_COMPILER=$ulna_nvcc"
    "-DCMAKE_CUDA_ARCHITECTURES=${ulna_cuda_architectures// /-real;}-real")
  jobs=$(ulna_jobs 5)
fi

ulna_install "${ulna_core_packages[@]}" "${ulna_component_packages[@]}" "${ulna_example_packages[@]}"

ulna_say "Building the example program (about a minute the first time; with nvcc two or more)"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DULNA_NATIVE=ON -DULNA_BUILD_EXAMPLES=ON \
  -DULNA_BUILD_TESTS=OFF -DULNA_BUILD_BENCHMARKS=OFF --log-level=WARNING ${configuration[@]+"${configuration[@]}"}
cmake --build "$build" --target "ulna_example_$name" --parallel "$jobs"

ulna_say "Running it"
exec "$program" "$@"
