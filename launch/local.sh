#!/usr/bin/env bash
# Trains with N processes on this machine; --help says more. docs/launch.md has it in context.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/local.sh [--restarts=R] [--grace=S] [--port=P] N OPTION...

Runs N processes of `python -m segnet_jax.main OPTION...` on this machine as one run. GPUs are dealt out to them in
order. Process 0 writes to the terminal as it is; what the others write begins with their number.

  --restarts=R  how often all processes are started anew after one was killed (default 3)
  --grace=S     seconds that the others have to leave after one has failed, before they are killed (default 60)
  --port=P      of process 0, for the others to find it (default: one that is free)

SIGTERM and Ctrl-C are passed on; every process saves and leaves, and the same command resumes the run. When a process
ends by itself with an error, the others are stopped, and the exit status is its own.

The interpreter is $PYTHON, or `python`. JAX_PLATFORMS=cpu keeps GPUs out of it, and
XLA_FLAGS=--xla_force_host_platform_device_count=D gives every process D CPU devices.

  launch/local.sh 2 --config=configs/synthetic.py --workdir=runs/two
TEXT
}

die() {
  echo "launch/local.sh: $*" >&2
  exit 2
}

python=${PYTHON:-python}
restarts=3
grace=60
port=
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --restarts=*) restarts=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --port=*) port=${1#*=} ;;
    *) break ;;
  esac
  shift
done
(($#)) || die "how many processes? The first argument is their number, as in launch/local.sh 2 --workdir=runs/two."
[[ $1 =~ ^[1-9][0-9]{0,3}$ ]] || die "$1 is not a number of processes; --help shows how to call this."
[[ $restarts =~ ^[0-9]{1,4}$ ]] || die "--restarts=$restarts is not a number of restarts, such as 3."
[[ $grace =~ ^[0-9]{1,5}$ ]] || die "--grace=$grace is not a number of seconds, such as 60."
[[ -z $port || ($port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535) ]] || die "--port=$port is not between 1 and 65535."
readonly num_processes=$1
shift
command -v "$python" >/dev/null || die "there is no $python; PYTHON names the interpreter to use."

# Paths on the command line stay relative to where the caller is.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# Prints the number of GPUs that JAX would use.
count_gpus() {
  if [[ -n ${JAX_PLATFORMS-} && ! $JAX_PLATFORMS =~ cuda|gpu ]] || ! command -v nvidia-smi >/dev/null; then
    echo 0
  elif [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c '^[^-]' || true
  else
    nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true
  fi
}

gpus=$(count_gpus)
((gpus % num_processes == 0)) ||
  die "$gpus GPUs cannot be dealt out evenly to $num_processes processes; choose another number, or JAX_PLATFORMS=cpu."
readonly gpus_each=$((gpus / num_processes))

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

pids=()
stopped_by= # the signal that was passed on

# Starts the processes. Each has a process group of its own (-m), so that Ctrl-C reaches it once, through this script.
start() {
  local address=127.0.0.1:${port:-$(free_port)} id devices
  pids=()
  for ((id = 0; id < num_processes; id++)); do
    local command=(
      "$python" -m segnet_jax.main "$@" --coordinator="$address" --num_processes="$num_processes" --process_id="$id"
    )
    if ((gpus_each)); then
      devices=$(seq -s, $((id * gpus_each)) $((id * gpus_each + gpus_each - 1)))
      command=(env JAX_LOCAL_DEVICE_IDS="$devices" "${command[@]}")
    fi
    set -m
    if ((id == 0)); then
      "${command[@]}" </dev/null &
    else
      "${command[@]}" </dev/null > >(sed -u "s/^/[$id] /") 2> >(sed -u "s/^/[$id] /" >&2) &
    fi
    pids+=($!)
    set +m
  done
}

pass_on() {
  stopped_by=$1
  kill -s "$1" "${pids[@]}" 2>/dev/null || true
}
trap 'pass_on TERM' TERM HUP
trap 'pass_on INT' INT

# Whether a process of this exit status was asked to stop, and has saved.
is_stop() {
  (($1 == 130 || $1 == 143))
}

# Waits for all processes; sets `status` to that of the first one that failed, or 0, and `failed` to its number.
# Polls, because `wait -n` is not in every bash, and misses children in some.
supervise() {
  local -a running=("${!pids[@]}") still
  local id result first kill_at=
  status=0 failed=
  while ((${#running[@]})); do
    still=() first=$((status == 0))
    for id in "${running[@]}"; do
      if kill -0 "${pids[id]}" 2>/dev/null; then
        still+=("$id")
        continue
      fi
      result=0
      wait "${pids[id]}" 2>/dev/null || result=$?
      # Of those that ended at the same time, the one that was killed is the cause of the others' errors.
      if ((first && result > status)); then
        status=$result failed=$id
      fi
    done
    running=(${still[@]+"${still[@]}"})
    # Those that were asked to stop take the time that they need to save. Otherwise a collective that misses a process
    # would wait for minutes before it gives up.
    if ((status != 0 && ${#running[@]})) && [[ -z $stopped_by ]] && ! is_stop "$status"; then
      if [[ -z $kill_at ]]; then
        kill_at=$((SECONDS + grace))
        for id in "${running[@]}"; do kill -s TERM "${pids[id]}" 2>/dev/null || true; done
      elif ((SECONDS >= kill_at)); then
        for id in "${running[@]}"; do kill -s KILL "${pids[id]}" 2>/dev/null || true; done
      fi
    fi
    if ((${#running[@]})); then sleep 0.2 || true; fi
  done
}

for ((attempt = 0; ; attempt++)); do
  start "$@"
  # A signal that came while they were being started has not reached all of them.
  if [[ -n $stopped_by ]]; then pass_on "$stopped_by"; fi
  supervise
  if ((status == 0)); then exit 0; fi
  # Below 128: an error, which another start would only repeat.
  if [[ -n $stopped_by ]] || ((status < 128 || attempt >= restarts)) || is_stop "$status"; then
    echo "launch/local.sh: process $failed ended with status $status." >&2
    exit "$status"
  fi
  echo "launch/local.sh: process $failed ended with status $status; restart $((attempt + 1)) of $restarts." >&2
done
