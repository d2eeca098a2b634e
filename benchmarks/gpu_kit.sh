#!/usr/bin/env bash
# Everything that a GPU at hand can tell this study, in ten minutes: what must hold of it (`pepr gpu-check`), the loop
# beside the bare one and the paper's way, and a training step of all 131 models. Runs from a checkout on a machine
# that has Python, torch, timm and numpy and no network.
#
#   benchmarks/gpu_kit.sh --collect     on a machine with a package registry: fetch what else it needs
#   benchmarks/gpu_kit.sh               on the GPU machine; results go to $OUT, else to results/gpu-kit
#
# DEVICE=cpu, IMAGE_SIZE=, BATCH_SIZE=, MODELS=a,b and MINUTES= try it elsewhere. What is written is written at once:
# whatever stops the script leaves what it had, and the sweep goes on where it stopped.
set -uo pipefail
cd "$(dirname "$0")/.."
wheels=benchmarks/gpu_kit_wheels
needs=(lazy-loader medmnist nvidia-ml-py psutil)

if [ "${1:-}" = --collect ]; then
  mkdir -p "$wheels"
  for name in "${needs[@]}"; do
    pin=$(grep -iE "^$name==" requirements.lock | cut -d' ' -f1)
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.12 \
      --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --dest "$wheels" "$pin" || exit 1
  done
  du -sh "$wheels"
  exit
fi

began=$SECONDS
seconds=$((60 * ${MINUTES:-10}))
device=${DEVICE:-cuda}
out=${OUT:-results/gpu-kit}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PEPR_RESULTS=$out PYTHONUNBUFFERED=1

# Wheels are unpacked, not installed, and only those that the machine does not have.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
for wheel in "$wheels"/*.whl; do
  name=$(basename "$wheel" | cut -d- -f1)
  python3 -c 'from importlib import metadata; import sys; metadata.version(sys.argv[1])' "$name" 2> /dev/null \
    || python3 -m zipfile -e "$wheel" "$site"
done
export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH}

left() { echo $((seconds - (SECONDS - began))); }
within() { timeout --foreground --signal=INT "$1" "${@:2}"; }  # as Ctrl-C does: what was measured is kept

sizes=(${IMAGE_SIZE:+--image-size "$IMAGE_SIZE"} ${BATCH_SIZE:+--batch-size "$BATCH_SIZE"})
within $((seconds * 2 / 5)) python3 -m benchmarks.gpu_kit check --device "$device" "${sizes[@]}" | tee "$out/gpu-check.txt"
checked=${PIPESTATUS[0]}
echo "checks took $((SECONDS - began)) s" | tee -a "$out/gpu-check.txt"

within $((seconds / 8)) python3 -m benchmarks.gpu_loops "$device" "${IMAGE_SIZE:-128}" | tee "$out/loops.jsonl"

within "$(left)" python3 -m benchmarks.gpu_kit sweep --device "$device" "${sizes[@]}" ${MODELS:+--models "$MODELS"} \
  | tee "$out/sweep.txt"
swept=${PIPESTATUS[0]}
echo "everything took $((SECONDS - began)) s; results are in $out"
[ "$checked" -eq 0 ] && [ "$swept" -eq 0 ]
