#!/bin/sh
# Make the folder in which todm runs on an emulated aarch64 (todm/bench/emulated.py): about 250 MB.
#   scripts/arm64.sh [FOLDER]      by default $TODM_ARM64_DIR, else the user's cache
# Needs Debian's qemu-user and mmdebstrap, as root. PIP is the pip to download with.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-${TODM_ARM64_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/todm/arm64}}
suite=${SUITE:-bookworm}
python=3.11 # of that suite
pip=${PIP:-$here/.venv/bin/python -m pip}

for tool in qemu-aarch64 mmdebstrap; do
  command -v $tool >/dev/null || { echo "arm64: needs $tool: apt install qemu-user mmdebstrap" >&2; exit 4; }
done
mkdir -p "$folder"
if [ ! -d "$folder/root" ]; then
  rm -rf "$folder/root.part"
  mmdebstrap --mode=root --variant=extract --arch=arm64 \
    --include=python3-minimal,libpython$python-stdlib,libstdc++6,libgomp1,zlib1g \
    "$suite" "$folder/root.part"
  mkdir -p "$folder/root.part/proc"
  for number in 0 1; do # the features of qemu's cortex-a76
    printf 'processor\t: %s\nBogoMIPS\t: 100.00\nFeatures\t: %s\n%s\n\n' $number \
      'fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp' \
      "$(printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0b\nCPU revision\t: 1')"
  done > "$folder/root.part/proc/cpuinfo"
  mv "$folder/root.part" "$folder/root"
fi
if [ ! -d "$folder/site" ]; then
  rm -rf "$folder/site.part"
  # What todm needs on a device, in the versions of the lock.
  names='onnxruntime numpy pydantic jaxtyping kaldi-native-fbank soundfile soxr jiwer tqdm typer'
  wanted=
  for name in $names; do
    wanted="$wanted $(grep -i "^$name==" "$here/requirements.lock")"
  done
  # shellcheck disable=SC2086
  $pip install --quiet --target "$folder/site.part" --python-version $python \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
    --only-binary=:all: $wanted
  mv "$folder/site.part" "$folder/site"
fi
# The C++ runner, where it can be built.
if [ ! -x "$folder/runner/todm_runner" ]; then
  if command -v cmake >/dev/null && command -v aarch64-linux-gnu-g++ >/dev/null; then
    if [ ! -d "$folder/executorch" ]; then
      rm -rf "$folder/executorch.part"
      $pip install --quiet --no-deps --target "$folder/executorch.part" --python-version $python \
        --platform manylinux_2_28_aarch64 --only-binary=:all: \
        "$(grep '^executorch==' "$here/requirements.lock")"
      mv "$folder/executorch.part/executorch" "$folder/executorch"
      rm -rf "$folder/executorch.part"
    fi
    cmake -S "$here/todm/runtimes/csrc" -B "$folder/runner" \
      -DEXECUTORCH_PACKAGE="$folder/executorch" -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
      -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
    cmake --build "$folder/runner"
  else
    echo "arm64: no runner: needs cmake and g++-aarch64-linux-gnu" >&2
  fi
fi
echo "arm64: $folder"
