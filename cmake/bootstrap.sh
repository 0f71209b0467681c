# SPDX-License-Identifier: MIT
# Sourced by tests/run.sh and examples/quickstart.sh: installs what Ulna needs on Debian and Ubuntu, and says so first.

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

# Compile jobs: one a core, and no more than the memory holds (a file that instantiates a network takes up to 1 GB).
ulna_jobs() {
  local cores memory_gb
  cores=$(nproc)
  memory_gb=$(awk '/^MemAvailable/ {print int($2 / 1048576 / 1.2)}' /proc/meminfo 2>/dev/null || echo 2)
  echo $((memory_gb < 1 ? 1 : (cores < memory_gb ? cores : memory_gb)))
}
