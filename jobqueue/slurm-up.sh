#!/usr/bin/env bash
# A real Slurm for tests: several virtual nodes with fake GPUs on this machine, ready in about half
# a second, without systemd, cgroups, /etc/slurm or /etc/munge. Everything lies under ROOT.
#
#   slurm-up.sh ROOT [NODES=4] [GPUS=4] [CPUS=8]       GPUS and CPUS are those of a node
#
# Prints the `export SLURM_CONF=...` that turns a shell to it. Several can run side by side, each
# with a ROOT and ports of its own:
#   SLURM_TEST_PORT   the first port (17000): slurmctld; those after it, up to NODES: the nodes
#   SLURM_TEST_DBD    non-empty: with job accounting (sacct); run slurmdbd-up.sh ROOT before
#
# Needs root and the packages slurmctld, slurmd, slurm-client and munge (Debian, Ubuntu).
# Partitions: batch (default; its jobs give way to urgent ones), urgent, and short (at most 30
# minutes, first node only).
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
ROOT=$(cd "$1" && pwd -P); NODES=${2:-4}; GPUS=${3:-4}; CPUS=${4:-8}
BASE=${SLURM_TEST_PORT:-17000}
DBD=${SLURM_TEST_DBD:-}
HOST=$(hostname -s)
umask 022

fail() { echo "slurm-up.sh: $*" >&2; exit 1; }
for each in slurmctld slurmd munged sinfo; do
  command -v "$each" >/dev/null ||
    fail "$each is missing: apt-get install slurmctld slurmd slurm-client munge"
done
[ "$(id -u)" = 0 ] || fail "needs root (the daemons start jobs for other users)"
# The path of a Unix socket (munge's, a job's) has to fit into 108 bytes.
[ ${#ROOT} -le 60 ] || fail "ROOT=$ROOT is longer than 60 characters, too long for sockets in it"
pid=$(cat "$ROOT/run/slurmctld.pid" 2>/dev/null || true)
if [ -n "$pid" ] && grep -qsz "^$ROOT/etc/slurm.conf$" "/proc/$pid/cmdline"; then
  fail "a Slurm runs in $ROOT already: slurm-down.sh $ROOT"
fi
for port in $(seq "$BASE" $((BASE + NODES))); do
  ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
    fail "port $port is taken: choose another SLURM_TEST_PORT (now $BASE)"
done
# Jobs inherit what the daemons have; a test run inside some Slurm job must not leak its own.
for name in $(compgen -e | grep -E '^(SLURM|SLURMD|SBATCH|SRUN|SQUEUE|SINFO|SCANCEL)_' || true); do
  unset "$name"
done

mkdir -p "$ROOT"/{etc,state,log,run,munge,munge-run,dev}
for i in $(seq 1 "$NODES"); do mkdir -p "$ROOT/spool/node$i"; done

# munge insists on a key that nobody else can read, and clients have to reach its socket.
chmod 0700 "$ROOT/munge"
chmod 0755 "$ROOT/munge-run"
if [ ! -s "$ROOT/munge/key" ]; then
  (umask 277; head -c 128 /dev/urandom >"$ROOT/munge/key")
fi

# slurmd counts GPUs by their device files: a count without files makes the nodes invalid. Character
# devices with NVIDIA's major number 195 need no driver; plain files where mknod is forbidden.
for i in $(seq 0 $((GPUS - 1))); do
  device="$ROOT/dev/nvidia$i"
  [ -e "$device" ] || mknod -m 666 "$device" c 195 "$i" 2>/dev/null || : >"$device"
done

ACCOUNTING="AccountingStorageType=accounting_storage/none"
if [ -n "$DBD" ]; then
  # The socket is repeated as "Pass" because the accounting plugin ignores AuthInfo; gres/gpu may
  # only be accounted for where there is a slurmdbd.
  ACCOUNTING="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((BASE + 90))
AccountingStoragePass=$ROOT/munge-run/munge.socket
AccountingStorageTRES=gres/gpu"
fi
GRES_TYPES="GresTypes=gpu"; GRES="Gres=gpu:$GPUS"
if [ "$GPUS" = 0 ]; then GRES_TYPES=""; GRES=""; fi

cat >"$ROOT/etc/slurm.conf" <<CONF
ClusterName=daskhpo
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$BASE
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmctldDebug=verbose
SlurmdPidFile=$ROOT/run/slurmd.%n.pid
SlurmdLogFile=$ROOT/log/slurmd.%n.log
SlurmdDebug=verbose
SlurmdSpoolDir=$ROOT/spool/%n
StateSaveLocation=$ROOT/state
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job may not start before its old credential has expired: 5 s instead of 120 s.
AuthInfo=socket=$ROOT/munge-run/munge.socket,cred_expire=5
CredType=cred/munge
# Without cgroups: processes are followed by their parents, memory and GPUs are not enforced.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
SwitchType=switch/none
MpiDefault=none
# The nodes claim more CPUs and memory than this machine has; let them.
SlurmdParameters=config_overrides
ReturnToService=2

SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=0,batch_sched_delay=0,sched_interval=2,bf_continue
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PriorityType=priority/basic
# A job of partition urgent puts those of partition batch back into the queue, or ends them if
# they carry --no-requeue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptExemptTime=00:00:00
JobRequeue=1

# Short timers, so that tests are quick: a node counts as dead after 10 s, SIGKILL follows
# SIGTERM after 3 s. Ended jobs are remembered for an hour.
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=3600
KillWait=3
OverTimeLimit=0
Waittime=0
UnkillableStepTimeout=20
CompleteWait=0

$ACCOUNTING
JobCompType=jobcomp/filetxt
JobCompLoc=$ROOT/log/jobcomp.txt
$GRES_TYPES
NodeName=DEFAULT CPUs=$CPUS RealMemory=16000 $GRES State=UNKNOWN
NodeName=node[1-$NODES] NodeAddr=127.0.0.1 NodeHostname=$HOST Port=[$((BASE + 1))-$((BASE + NODES))]
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP OverSubscribe=NO DefMemPerCPU=100
PartitionName=batch Default=YES PriorityTier=1 DefaultTime=10 PreemptMode=REQUEUE
PartitionName=urgent PriorityTier=10 DefaultTime=10 PreemptMode=OFF
PartitionName=short Nodes=node1 PriorityTier=1 DefaultTime=10 MaxTime=30 PreemptMode=REQUEUE
CONF
: >"$ROOT/etc/gres.conf"
if [ "$GPUS" != 0 ]; then
  files="$ROOT/dev/nvidia[0-$((GPUS - 1))]"
  echo "NodeName=node[1-$NODES] Name=gpu File=$files" >"$ROOT/etc/gres.conf"
fi
export SLURM_CONF="$ROOT/etc/slurm.conf"

# From here on a failure takes down again what has been started. No daemon may keep the caller's
# pipes open: whoever reads this script's output would wait for the daemons to end.
trap 'status=$?; if [ $status != 0 ]; then "$(dirname "$0")/slurm-down.sh" "$ROOT"; fi' EXIT
start() {
  if ! "$@" </dev/null >>"$ROOT/log/start.log" 2>&1; then
    tail -n 5 "$ROOT/log/start.log" >&2
    fail "$1 does not start: see $ROOT/log"
  fi
}
start munged --force --socket="$ROOT/munge-run/munge.socket" --key-file="$ROOT/munge/key" \
  --pid-file="$ROOT/munge-run/munged.pid" --log-file="$ROOT/log/munged.log" \
  --seed-file="$ROOT/munge/seed"
if [ -n "$DBD" ]; then
  start slurmdbd
  for _ in $(seq 100); do sacctmgr -n list cluster >/dev/null 2>&1 && break; sleep 0.1; done
  # They exist already if the database is an older one of this ROOT.
  sacctmgr -i add cluster daskhpo >/dev/null 2>&1 || true
  sacctmgr -i add account hep >/dev/null 2>&1 || true
  sacctmgr -i add user root account=hep >/dev/null 2>&1 || true
fi
# The configuration file is named on the command line so that slurm-down.sh can tell these
# daemons from those of another Slurm by /proc, even if a pid was given out again.
start slurmctld -i -f "$SLURM_CONF"
for i in $(seq 1 "$NODES"); do start slurmd -f "$SLURM_CONF" -N "node$i"; done

for _ in $(seq 100); do
  if [ "$(sinfo -h -N -o '%N %T' | sort -u | grep -c ' idle$')" = "$NODES" ]; then
    echo "export SLURM_CONF=$SLURM_CONF"
    exit 0
  fi
  sleep 0.1
done
sinfo -N -l >&2
fail "the nodes are not idle after 10 s: see $ROOT/log"
