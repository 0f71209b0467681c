#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check.sh FOLDER: the example programs built in FOLDER, from generated images to weights to the mask of an image, and
# what they say to bad input.
set -euo pipefail
programs=$1
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $*"
  exit 1
}

# refuses TEXT COMMAND...: it must exit with an error that contains the text, in one line, and write nothing.
refuses() {
  local text=$1 before message
  shift
  before=$(find . -type f | sort)
  if message=$("$@" 2>&1 >/dev/null); then fail "did not refuse: $*"; fi
  [[ $message == *"$text"* ]] || fail "expected '$text' from: $*, found: $message"
  [[ $(wc -l <<<"$message") -eq 1 ]] || fail "more than one line from: $*: $message"
  [[ $(find . -type f | sort) == "$before" ]] || fail "left files behind: $*"
  echo "refused: $message"
}

"$programs/hello" | grep -q "UNet/encoder\[0\]" || fail "hello prints no summary"
networks=$("$programs/custom_network")
for text in "U-Net++, gated skips" "a cascade of two U-Nets" "Cascade/coarse/encoder\[0\]" "Cascade/fine/decoder\[1\]"; do
  grep -q "$text" <<<"$networks" || fail "custom_network prints no $text"
done

"$programs/train" --steps 3 --single --out "with space"
for file in results.json unet.safetensors loss.png contact_sheet.png; do
  [[ -s "with space/$file" ]] || fail "train wrote no $file"
done
for key in unet otsu constant pixel_error dice iou seconds; do
  grep -q "\"$key\"" "with space/results.json" || fail "results.json has no $key"
done

weights="with space/unet.safetensors"
picture="with space/contact_sheet.png" # an image like any other
"$programs/segment" "$weights" "$picture" --mirror --mask mask.png --overlay overlay.png
[[ -s mask.png && -s overlay.png ]] || fail "segment wrote no mask or overlay"

head -c 3000 "$weights" >truncated.safetensors
head -c 1000 "$picture" >truncated.png
refuses "truncated" "$programs/segment" truncated.safetensors "$picture" --mirror --mask no.png --overlay no2.png
refuses "truncated.png" "$programs/segment" "$weights" truncated.png --mirror --mask no.png --overlay no2.png
refuses "results.json" "$programs/segment" "$weights" "with space/results.json" --mask no.png --overlay no2.png
refuses "missing.png" "$programs/segment" "$weights" missing.png --mask no.png --overlay no2.png

mkdir -p empty/images empty/masks pair/images pair/masks
for name in a b c; do
  cp mask.png pair/images/$name.png
  cp mask.png pair/masks/$name.png
done
mv pair/masks/b.png pair/masks/other.png
refuses "no such folder" "$programs/train" "no such folder" --out no
refuses "no image" "$programs/train" empty --out no
refuses "b.png" "$programs/train" pair --out no
refuses "no such folder" bash "$here/../../examples/quickstart.sh" "no such folder"
refuses "masks" bash "$here/../../examples/quickstart.sh" "with space"
refuses "must be cpu or cuda" bash "$here/../../examples/quickstart.sh" --device gpu

# What is said before minutes of building, whatever this machine has: its device and toolkit are played.
on_device=(env "PATH=$work/played:$PATH" bash "$here/../../examples/quickstart.sh" --device cuda)
plays() { # plays CAPABILITY DRIVER TOOLKIT: versions
  mkdir -p played
  cat >played/nvidia-smi <<TEXT
#!/bin/sh
case \$1 in
  '') echo '| NVIDIA-SMI 1.0   Driver Version: 1.0   CUDA Version: $2 |' ;;
  *) echo '$1' ;;
esac
TEXT
  printf '#!/bin/sh\necho "Cuda compilation tools, release %s, V%s.1"\n' "$3" "$3" >played/nvcc
  chmod +x played/*
}
plays "No devices were found" 13.0 13.0
refuses "no CUDA device on this machine" "${on_device[@]}"
plays 7.5 13.0 13.0
refuses "compute capability 7.5, 8.0 or more" "${on_device[@]}"
plays 9.0 13.0 11.8
refuses "install the CUDA Toolkit 12 or newer" "${on_device[@]}"
plays 9.0 12.4 13.0
refuses "driver is for CUDA 12, nvcc of CUDA 13" "${on_device[@]}"

bash "$here/../../examples/quickstart.sh" --help | grep -q "DIR" || fail "quickstart.sh --help"
echo "all examples behave"
