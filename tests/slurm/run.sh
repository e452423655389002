#!/usr/bin/env bash
# Tries launch/slurm.sbatch on a real SLURM: a cluster of one node, made in a temporary directory and taken down again.
#
#   apt-get install slurm-wlm munge       # Debian 12 or later
#   tests/slurm/run.sh                    # as root, in the environment of requirements.txt; some minutes
#   tests/slurm/run.sh stopped killed     # these parts only, after an undisturbed run
#
# Not part of the default tests, because it needs root and the packages. GPUs and several nodes are not tried by it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python}
timeout=${TIMEOUT:-900} # seconds that a single step may take
# The run of the tests' tiny configuration, long enough to be stopped in the middle.
readonly steps=${STEPS:-400}
readonly options=(
  "--config=$root/configs/synthetic.py"
  "--config.data.scene_size=(16, 24)"
  --config.data.train_scenes=16
  --config.data.eval_scenes=8
  --config.model.width_multiplier=0.0625
  "--config.optimizer.warmup=0 steps"
  "--config.train.duration=$steps steps"
  "--config.train.checkpoint_every=10 steps"
  "--config.train.eval_every=$steps steps"
  "--config.train.log_every=10 steps"
)

die() {
  echo "tests/slurm/run.sh: $*" >&2
  exit 1
}

readonly all_parts=(stopped preempted killed cancelled limited uneven wrong)
parts=("$@")
if (($# == 0)); then parts=("${all_parts[@]}"); fi
for part in "${parts[@]}"; do
  [[ " ${all_parts[*]} " == *" $part "* ]] || die "there is no part $part; there are ${all_parts[*]}."
done

((EUID == 0)) || die "slurmd starts jobs, so this must run as root."
for program in munged slurmctld slurmd sbatch; do
  command -v $program >/dev/null || die "there is no $program; apt-get install slurm-wlm munge brings it."
done
command -v "$python" >/dev/null || die "there is no $python; PYTHON names the interpreter to use."

cluster=$(mktemp -d)
daemons=()
passed=0

finish() {
  local status=$?
  trap - EXIT
  if ((status != 0)); then
    tail -n 30 "$cluster"/*.log "$cluster"/*.out 2>/dev/null || true
  fi
  if ((${#daemons[@]})); then
    scancel --state=RUNNING 2>/dev/null || true
    scancel --state=PENDING 2>/dev/null || true
    for ((i = 0; i < 60; i++)); do
      squeue --noheader --states=all --format=%T 2>/dev/null | grep -qE 'RUNNING|COMPLETING' || break
      sleep 1
    done
    kill "${daemons[@]}" 2>/dev/null || true
    # slurmd waits for steps, which may hang.
    for ((i = 0; i < 30; i++)); do
      kill -0 "${daemons[@]}" 2>/dev/null || break
      sleep 1
    done
    kill -KILL "${daemons[@]}" 2>/dev/null || true
    wait "${daemons[@]}" 2>/dev/null || true
  fi
  rm -rf "$cluster"
  if ((status == 0)); then echo "$passed passed, 0 failed"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# until_true SECONDS COMMAND...: polls the command.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 1
  done
}

start_cluster() {
  chmod 755 "$cluster"
  mkdir -p "$cluster"/{munge,state,spool}
  chmod 755 "$cluster/munge"
  dd if=/dev/urandom of="$cluster/munge/key" bs=1024 count=1 status=none
  chmod 600 "$cluster/munge/key"
  cat >"$cluster/slurm.conf" <<CONF
ClusterName=trial
SlurmctldHost=localhost
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
# A job that is requeued waits until its old credential is not valid any more.
AuthInfo=socket=$cluster/munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# Two tasks find room on a machine with any number of cores.
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=120
# Finished jobs stay known.
MinJobAge=86400
ReturnToService=2
SchedulerParameters=sched_min_interval=0,bf_interval=5
GresTypes=gpu
NodeName=localhost CPUs=2 Gres=gpu:3 State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES PriorityTier=1 GraceTime=300
PartitionName=high Nodes=localhost PriorityTier=2 PreemptMode=OFF
CONF
  # Three devices that are no GPUs, for the script's check of their number.
  printf 'Name=gpu File=/dev/%s\n' null zero full >"$cluster/gres.conf"
  export SLURM_CONF=$cluster/slurm.conf
  # Options of an allocation in which this script runs are not those of the jobs here.
  unset "${!SBATCH_@}" "${!SRUN_@}" SLURM_JOB_ID
  munged --force --foreground --key-file="$cluster/munge/key" --socket="$cluster/munge/socket" \
    --pid-file="$cluster/munge/pid" --log-file="$cluster/munge/log" --seed-file="$cluster/munge/seed" \
    >"$cluster/munged.log" 2>&1 &
  daemons+=($!)
  until_true 30 test -S "$cluster/munge/socket" || die "munged did not start."
  slurmctld -D >"$cluster/slurmctld.log" 2>&1 &
  daemons+=($!)
  slurmd -D -N localhost >"$cluster/slurmd.log" 2>&1 &
  daemons+=($!)
  until_true 60 node_is_idle || die "the node did not become idle."
  echo "A cluster of one node is up: $(scontrol --version)."
}

node_is_idle() {
  [[ $(sinfo --noheader --partition=low --format=%T 2>/dev/null) == idle ]]
}

# submit NAME [SBATCH OPTION...]: submits the run with work directory NAME, and sets `job`.
submit() {
  local name=$1 more=()
  shift
  if [[ $name == limited ]]; then more+=("--config.train.duration=10000000 steps"); fi
  job=$(cd "$root" && sbatch --parsable --job-name="$name" --output="$cluster/$name.out" "$@" \
    launch/slurm.sbatch "${options[@]}" "${more[@]}" --workdir="$cluster/$name")
}

field() {
  scontrol show job "$job" --oneliner | tr ' ' '\n' | sed -n "s/^$1=//p" | head -1
}

state_is() {
  [[ $(field JobState) == "$1" ]]
}

is_requeued() {
  [[ $(field Restarts) != 0 ]]
}

is_finished() {
  [[ $(field JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]
}

has_checkpoint() {
  compgen -G "$cluster/$1/checkpoints/[0-9]*" >/dev/null
}

wait_for_state() {
  until_true "$timeout" is_finished || die "job $job ($(field JobName)) did not end."
  state_is "$1" || die "job $job is $(field JobState), not $1."
}

expect() {
  local what=$1
  shift
  "$@" || die "not so: $what."
  passed=$((passed + 1))
  echo "ok: $what"
}

is_result_of() {
  [[ -s $cluster/$1/eval/val-$steps.json ]] || return 1
}

same_result() {
  "$python" - "$cluster/$1/eval/val-$steps.json" "$cluster/$2/eval/val-$steps.json" <<'PYTHON'
import json
import sys

first, second = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
sys.exit(first["mean_iou"] != second["mean_iou"] or first["global_accuracy"] != second["global_accuracy"])
PYTHON
}

try_whole() {
  submit whole
  wait_for_state COMPLETED
  expect "two processes train to the end" is_result_of whole
  expect "the job had two tasks" test "$(field NumTasks)" = 2
  expect "nothing was requeued" test "$(field Restarts)" = 0
}

# What SLURM sends to the steps two minutes before the time limit.
try_stopped() {
  submit stopped
  until_true "$timeout" has_checkpoint stopped || die "job $job wrote no checkpoint."
  scancel --signal=TERM "$job"
  wait_for_state COMPLETED
  expect "SIGTERM saves, requeues and resumes" test "$(field Restarts)" = 1
  expect "the resumed run ends with the result of an undisturbed one" same_result whole stopped
}

try_preempted() {
  submit preempted
  until_true "$timeout" has_checkpoint preempted || die "job $job wrote no checkpoint."
  sbatch --parsable --partition=high --ntasks=2 --output="$cluster/high.out" --wrap="sleep 1" >/dev/null
  wait_for_state COMPLETED
  expect "a preempted job is requeued and resumes" test "$(field Restarts)" -ge 1
  expect "the preempted run ends with the result of an undisturbed one" same_result whole preempted
}

try_killed() {
  submit killed
  until_true "$timeout" has_checkpoint killed || die "job $job wrote no checkpoint."
  scontrol requeue "$job"
  wait_for_state COMPLETED
  expect "a job requeued from outside, as when a node fails, starts again" test "$(field Restarts)" = 1
  expect "it resumes" grep -q "Resuming at step" "$cluster/killed.out"
  expect "and ends with the result of an undisturbed one" same_result whole killed
}

try_cancelled() {
  submit cancelled
  until_true "$timeout" has_checkpoint cancelled || die "job $job wrote no checkpoint."
  scancel "$job"
  wait_for_state CANCELLED
  sleep 10
  expect "a cancelled job stays cancelled" state_is CANCELLED
}

# More steps than there is time for: SIGTERM comes two minutes before the limit, or up to one minute earlier.
try_limited() {
  submit limited --time=4 --export=ALL,MAX_REQUEUES=1
  until_true "$timeout" is_requeued || die "job $job was not requeued at its time limit."
  expect "at the time limit a job saves and is requeued" has_checkpoint limited
  wait_for_state FAILED
  expect "no more often than MAX_REQUEUES" grep -q "has been requeued 1 times" "$cluster/limited.out"
}

try_uneven() {
  submit uneven --gpus-per-node=3
  wait_for_state FAILED
  expect "GPUs that cannot be shared are refused" grep -q "2 tasks cannot share the 3 GPUs" "$cluster/uneven.out"
}

try_wrong() {
  job=$(cd "$root" && sbatch --parsable --output="$cluster/wrong.out" launch/slurm.sbatch --config.no.such.key=1 \
    --workdir="$cluster/wrong")
  wait_for_state FAILED
  expect "a mistake fails the job at once" test "$(field Restarts)" = 0
  expect "and is said in a line" grep -q "no key no.such.key" "$cluster/wrong.out"
}

start_cluster
# What the others are compared with.
try_whole
for part in "${parts[@]}"; do "try_$part"; done
