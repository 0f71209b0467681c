#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Ulna beside PyTorch, ONNX Runtime and OpenVINO (on a device: beside the PyTorch there): same networks, weights and
# images, outputs compared. Prints ratios, the fastest peer's first, and tables of every figure. benchmarks/run.sh --help
# lists the options.
#   BUILD_DIR=...   build, and keep weights and exported models, there instead of in build/benchmarks
#   PYTHON=...      an interpreter that has the peers; otherwise they are installed from peers/requirements.txt into an
#                   environment in BUILD_DIR (on a device: python3)
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/bootstrap.sh"
BUILD_DIR=$(realpath -m -- "${BUILD_DIR:-$root/build/benchmarks}")
JOBS=$(ulna_jobs)
export BUILD_DIR JOBS PYTHONPYCACHEPREFIX=$BUILD_DIR/pycache

asks() { # whether the command line has that word
  local word
  for word in "${arguments[@]}"; do [[ $word != "$1" ]] || return 0; done
  return 1
}
arguments=("$@")
if asks --help || asks -h; then
  sed -n '3,9s/^# //p' "${BASH_SOURCE[0]}"
  PYTHON=${PYTHON:-$BUILD_DIR/environment/bin/python}
  [[ -x $PYTHON ]] || { echo "Once the peers are installed, --help lists the options."; exit 0; }
fi

environment() { # makes the environment, or brings it up to date with the requirements
  local requirements=$root/benchmarks/peers/requirements.txt folder=$BUILD_DIR/environment
  if ! cmp -s "$requirements" "$folder/installed.txt"; then
    ulna_say "Installing PyTorch, ONNX Runtime and OpenVINO into $folder (a few minutes, a few GB)"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --upgrade -r "$requirements"
    cp "$requirements" "$folder/installed.txt"
  fi
  PYTHON=$folder/bin/python
}

if asks --cuda; then
  PYTHON=${PYTHON:-python3}
  "$PYTHON" -c "import numpy" 2>/dev/null ||
    ulna_fail "--cuda needs a Python with PyTorch and NumPy; $PYTHON has no NumPy (PYTHON=... names another)"
  JOBS=$(ulna_jobs 4) # nvcc takes more memory
else
  ulna_install "${ulna_core_packages[@]}" "${ulna_benchmark_packages[@]}" python3-venv
  [[ -n ${PYTHON:-} ]] || environment
fi
exec "$PYTHON" "$root/benchmarks/peers/compare.py" "$@"
