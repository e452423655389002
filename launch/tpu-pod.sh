#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs, one process a host; --help says more. docs/launch.md has it in context.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/tpu-pod.sh --name=NAME --zone=ZONE --nfs=HOST:/SHARE [OPTION OF THIS SCRIPT...] [--] OPTION...

Creates the TPU slice NAME if there is none, copies this clone to every host, installs the requirements, and runs
`python -m segnet_jax.main OPTION...` on all of them as one run. Needs the gcloud command, logged in, with a project, and
its SSH key in the agent (`ssh-add ~/.ssh/google_compute_engine`), as gcloud asks for slices of several hosts.

  --nfs=HOST:/SHARE   a network share, such as Filestore's, mounted on every host as /mnt/segnet: work directories and
                      data must lie there, because the disks of a host go when it is preempted
  --type=TYPE         of the slice (default v5litepod-16)
  --version=VERSION   of the hosts' software (default v2-alpha-tpuv5-lite)
  --spot              a slice that costs less and can be preempted
  --restarts=R        how often the run is started anew on a healthy slice after one of its processes was killed or a
                      connection was lost (default 3); preemptions do not count
  --delete            delete the slice when the run has ended well

A slice that was preempted is created anew, and the run resumes. SIGTERM and Ctrl-C are passed on: every process saves
and leaves, the slice stays, and the same command resumes the run.

  launch/tpu-pod.sh --name=segnet --zone=us-west4-a --spot --nfs=10.0.0.2:/share \
    --config=configs/camvid_segnet.py --workdir=/mnt/segnet/runs/camvid --config.data.root=/mnt/segnet/data/camvid
TEXT
}

die() {
  echo "launch/tpu-pod.sh: $*" >&2
  exit 2
}

say() {
  echo "launch/tpu-pod.sh: $*" >&2
}

name='' zone='' nfs='' type=v5litepod-16 version=v2-alpha-tpuv5-lite restarts=3 delete=''
create_options=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --nfs=*) nfs=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --restarts=*) restarts=${1#*=} ;;
    --spot) create_options+=(--spot) ;;
    --delete) delete=yes ;;
    --)
      shift
      break
      ;;
    *) break ;;
  esac
  shift
done
[[ $name =~ ^[a-z]([-a-z0-9]{0,60}[a-z0-9])?$ ]] ||
  die "--name=$name does not name a slice; letters a to z, digits and hyphens do, as in --name=segnet."
[[ $zone =~ ^[a-z]+-[a-z]+[0-9]+-[a-z]$ ]] || die "--zone=$zone is not a zone, such as us-west4-a."
[[ $nfs =~ ^[^:[:space:]]+:/[^[:space:]]*$ ]] || die "--nfs=$nfs is not a network share, such as 10.0.0.2:/share."
[[ $restarts =~ ^[0-9]{1,4}$ ]] || die "--restarts=$restarts is not a number of restarts, such as 3."
(($#)) || die "there are no options for segnet_jax.main, such as --config=configs/synthetic.py --workdir=/mnt/segnet/x."
command -v gcloud >/dev/null || die "there is no gcloud; https://cloud.google.com/sdk/docs/install has it."
for option in "$@"; do
  if [[ $option == --workdir=* && $option != --workdir=/mnt/segnet/?* ]]; then
    die "$option would be lost with the slice; the work directory must lie below /mnt/segnet, the share of --nfs."
  fi
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stopped= # whether this script was asked to stop
poll=${POLL_SECONDS:-30}

tpu() {
  gcloud compute tpus tpu-vm "$1" "$name" --zone="$zone" --quiet "${@:2}"
}

# Runs a command on every host at once.
on_hosts() {
  tpu ssh --worker=all --command="$1"
}

# Prints READY, PREEMPTED and so on, and nothing if there is no such slice.
state() {
  gcloud compute tpus tpu-vm list --zone="$zone" --filter="name~(^|/)$name\$" --format='value(state)'
}

ensure_slice() {
  local now
  while [[ -z $stopped ]]; do
    if ! now=$(state); then
      say "gcloud does not answer; trying again in $poll s. Ctrl-C ends this."
      sleep "$poll"
      continue
    fi
    case $now in
      READY) return ;;
      '')
        say "creating the slice $name ($type)."
        if ! tpu create --accelerator-type="$type" --version="$version" ${create_options[@]+"${create_options[@]}"}; then
          say "it could not be created; trying again in $((poll * 2)) s. Ctrl-C ends this."
          sleep $((poll * 2))
        fi
        ;;
      PREEMPTED | TERMINATED | FAILED)
        say "the slice is $now; it is deleted and created anew."
        tpu delete || sleep "$poll"
        ;;
      STOPPED) tpu start || sleep "$poll" ;;
      *) sleep "$poll" ;; # CREATING, REPAIRING, DELETING and the like pass
    esac
  done
}

prepare_hosts() {
  local archive
  archive=$(mktemp -d)
  tar -C "$root" --exclude=__pycache__ -czf "$archive/segnet_jax.tar.gz" segnet_jax configs requirements.txt || return 1
  gcloud compute tpus tpu-vm scp "$archive/segnet_jax.tar.gz" "$name:" --zone="$zone" --quiet --worker=all || return 1
  rm -rf "$archive"
  # uv brings a Python, because that of the hosts' software is too old.
  on_hosts "set -e
mkdir -p segnet && tar -C segnet -xzf segnet_jax.tar.gz
if ! mountpoint -q /mnt/segnet; then
  sudo apt-get -qq -o DPkg::Lock::Timeout=300 install -y nfs-common
  sudo mkdir -p /mnt/segnet
  sudo mount -t nfs $(printf %q "$nfs") /mnt/segnet
  sudo chmod 1777 /mnt/segnet
fi
PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
test -x venv/bin/python || .local/bin/uv venv --quiet --python 3.12 venv
.local/bin/uv pip install --quiet --python venv/bin/python -r segnet/requirements.txt 'jax[tpu]'"
}

# A process that outlived its connection still holds the TPU: it saves and leaves first.
# shellcheck disable=SC2016
readonly stop_command='cd segnet && if [ -f pid ] && kill -TERM "$(cat pid)" 2>/dev/null; then
  i=0; while [ $i -lt 300 ] && kill -0 "$(cat pid)" 2>/dev/null; do sleep 1; i=$((i + 1)); done
fi'

stop() {
  stopped=yes
  if [[ -n ${run_pid-} ]]; then
    say "stopping the run; it saves first."
    on_hosts "$stop_command" || true
  fi
}
trap stop TERM INT HUP

# Runs the program on every host, and sets `status`.
run() {
  local command
  command=$(printf ' %q' "$@")
  # Not in this script's process group (-m), so that Ctrl-C does not cut the connection.
  set -m
  on_hosts "$stop_command"'; echo $$ >pid; export XDG_CACHE_HOME=/mnt/segnet/cache;'" \
exec ../venv/bin/python -m segnet_jax.main$command" </dev/null &
  run_pid=$!
  set +m
  status=0
  while :; do
    wait "$run_pid" && status=0 || status=$?
    # A signal ends `wait`, not the run.
    kill -0 "$run_pid" 2>/dev/null || break
  done
  wait "$run_pid" 2>/dev/null && status=0 || status=$?
  run_pid=
}

failures=0
while :; do
  ensure_slice
  if [[ -n $stopped ]]; then exit 143; fi
  if prepare_hosts; then
    if [[ -n $stopped ]]; then exit 143; fi
    run "$@"
  else
    status=255
  fi
  if ((status == 0)); then break; fi
  if [[ -n $stopped ]]; then exit "$status"; fi
  # A preemption shows some time after it has cut the connections.
  sleep "$poll"
  now=$(state || true)
  if [[ $now != READY ]]; then
    say "the run ended with status $status, and the slice is ${now:-gone}; it goes on with a new one."
    continue
  fi
  # 1 and 2: an error, which another start would only repeat.
  if ((status <= 2 || ++failures > restarts)); then
    say "the run ended with status $status; the slice $name is kept."
    exit "$status"
  fi
  say "the run ended with status $status; restart $failures of $restarts."
done
if [[ -n $delete ]]; then tpu delete; fi
