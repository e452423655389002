#!/usr/bin/env bash
# Trains SegNet on CamVid at full resolution in legs of some minutes; --help says more. docs/launch.md has it in context.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/camvid_full.sh [--seconds=S] [--config=FILE] CAMVID VGG16 OUT [OPTION...]

Trains by configs/camvid_segnet_strong.py for at most S seconds (default 540), saves, and leaves with the status 75 as
long as the run is not finished: give the same command again. Once it is, evaluations come on top, and OUT holds
  run/               the work directory, with its evaluations of val, plain and over mirrored and scaled copies, and of
                     network/
  curves and sheets  of `python -m segnet_jax.visualize`, in run/
  network/           the network as segnet_jax.from_pretrained reads it, with 8 bits a weight; its class weights,
                     if it has any that can be, are undone by half

  CAMVID    the folder with train.txt and val.txt
  VGG16     the .safetensors file of VGG16's ImageNet weights
  OPTION    of segnet_jax.main, such as --config.train.duration='100 epochs'

The interpreter is $PYTHON, or `python`.
TEXT
}

die() {
  echo "launch/camvid_full.sh: $*" >&2
  exit 2
}

python=${PYTHON:-python}
seconds=540
config=configs/camvid_segnet_strong.py
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --seconds=*) seconds=${1#*=} ;;
    --config=*) config=${1#*=} ;;
    -*) die "$1 is not an option; --help lists them." ;;
    *) break ;;
  esac
  shift
done
(($# >= 3)) || die "give the folder of CamVid, the file of VGG16 and a folder for the results; --help says more."
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds=$seconds must be a whole number above 0."
[[ -d $1 ]] || die "$1 is not a folder; give the folder of CamVid."
[[ -f $2 ]] || die "$2 is not a file; give VGG16's .safetensors file."
data=$1 weights=$2 out=$3
shift 3

status=0
# SIGTERM saves. If a step of the first leg has not come to an end a minute later, nothing would be lost.
timeout --signal=TERM --kill-after=60 "$seconds" "$python" -m segnet_jax.main --config="$config" \
  --workdir="$out/run" --config.data.root="$data" --config.pretrained.path="$weights" "$@" || status=$?
if ((status == 124 || status == 137 || status == 143)); then
  echo "launch/camvid_full.sh: not finished after $seconds s; the same command goes on." >&2
  exit 75
fi
((status == 0)) || exit "$status"

"$python" -m segnet_jax.main --mode=eval --workdir="$out/run" --config.data.root="$data" --config.eval.per_image=True
"$python" -m segnet_jax.main --mode=eval --workdir="$out/run" --config.data.root="$data" --config.eval.flip=True \
  --config.eval.scales='(0.75, 1.0, 1.25)'
"$python" -m segnet_jax.visualize --workdir="$out/run"
"$python" -c 'import sys, segnet_jax
from segnet_jax.errors import InputError
segnet = segnet_jax.from_pretrained(sys.argv[1])
try:
    segnet = segnet.undo_class_weights(0.5)
except InputError as error:
    print(f"{error} The network is saved as it was trained.", file=sys.stderr)
segnet.save_pretrained(sys.argv[2], eight_bits=True)' "$out/run" "$out/network"
"$python" -m segnet_jax.main --mode=eval --workdir="$out/run" --weights="$out/network" --config.data.root="$data"
