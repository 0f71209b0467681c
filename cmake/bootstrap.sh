# SPDX-License-Identifier: MIT
# Sourced by tests/run.sh, examples/quickstart.sh and others: installs what Ulna needs on Debian and Ubuntu, and says so
# first; looks for a CUDA device.

ulna_core_packages=(g++ cmake ninja-build pkgconf libeigen3-dev libxtensor-dev libtbb-dev)
ulna_component_packages=(libpng-dev libtiff-dev libcairo2-dev)
ulna_example_packages=(libcli11-dev nlohmann-json3-dev)
ulna_test_packages=(doctest-dev clang)
ulna_benchmark_packages=(libbenchmark-dev time)

ulna_say() { printf '\n== %s\n' "$*"; }
ulna_fail() {
  printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
  exit 1
}

# Runs a command as root, with sudo where the user is not root. Without a terminal sudo must not wait for a password.
ulna_as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif [[ -t 0 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

# ulna_install PACKAGE...: installs those that are missing. On another distribution it only names what is needed.
ulna_install() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    ulna_say "Not Debian or Ubuntu. Please install what these packages hold there: $*"
    return 0
  fi
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    return 0
  fi
  ulna_say "Installing from the distribution's packages: ${missing[*]}"
  if [[ $(id -u) -ne 0 ]] && ! command -v sudo >/dev/null; then
    ulna_fail "needs root or sudo for that. Or let an administrator run: apt-get install ${missing[*]}"
  fi
  # Errors go to standard error; the hundreds of lines about every file unpacked are of no use to anyone.
  ulna_as_root apt-get update -qq </dev/null >/dev/null || ulna_fail "apt-get update failed"
  ulna_as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
    ulna_fail "apt-get install failed"
}

# Compile jobs: one a core, and no more than the memory holds. A file that instantiates a network takes up to 1.2 GB, or
# what the first argument says.
ulna_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk -v each="${1:-1.2}" '/^MemAvailable/ {print int($2 / 1048576 / each)}' /proc/meminfo 2>/dev/null ||
    echo 2)
  echo $((memory < 1 ? 1 : (cores < memory ? cores : memory)))
}

# Says in one line what is missing unless programs can be built for, and run on, this machine's NVIDIA devices. Sets
# ulna_nvcc and ulna_cuda_architectures, such as "80 90a".
ulna_require_cuda() {
  local capabilities driver toolkit
  capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+[.][0-9]+$' |
    sort -uV) || ulna_fail "there is no CUDA device on this machine (nvidia-smi names none)"
  # Kernels of 9.0 use instructions that only sm_90a has.
  ulna_cuda_architectures=$(sed 's/[.]//; /^[1-7].$/d; s/^90$/90a/' <<<"$capabilities" | tr '\n' ' ')
  ulna_cuda_architectures=${ulna_cuda_architectures% }
  [[ -n $ulna_cuda_architectures ]] ||
    ulna_fail "the CUDA device of this machine has compute capability ${capabilities//$'\n'/, }, 8.0 or more is needed"
  ulna_nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) ||
    ulna_fail "there is a CUDA device, but no nvcc on PATH: install the CUDA Toolkit 12 or newer"
  toolkit=$("$ulna_nvcc" --version | sed -n 's/.*release \([0-9]*\)[.].*/\1/p')
  [[ ${toolkit:-12} -ge 12 ]] ||
    ulna_fail "$ulna_nvcc is of CUDA $toolkit: install the CUDA Toolkit 12 or newer"
  # A driver runs programs of every toolkit of its own major version.
  driver=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p' | head -n 1)
  [[ -z $driver || -z $toolkit || $driver -ge $toolkit ]] ||
    ulna_fail "the NVIDIA driver is for CUDA $driver, nvcc of CUDA $toolkit: install a newer driver or an older toolkit"
}
