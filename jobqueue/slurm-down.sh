#!/usr/bin/env bash
# Take down the test Slurm that slurm-up.sh (and slurmdbd-up.sh) started in ROOT, with its jobs.
#
#   slurm-down.sh ROOT
#
# Ends nothing else: a daemon is known by its pid file and by ROOT on its command line or in its
# environment, a job's process by the SLURM_CONF that its job gave it. Can be called again; ROOT
# itself is left as it is.
set -uo pipefail
[ $# = 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -d "$1" ] || exit 0
ROOT=$(cd "$1" && pwd -P)
export SLURM_CONF="$ROOT/etc/slurm.conf"

# ours PID...: those that are processes of this ROOT, by their command line or, as slurmdbd has
# none, their environment (a pid may have been given out again; a zombie has neither).
ours() {
  local pid
  for pid in "$@"; do
    ! grep -qsaF "$ROOT/" "/proc/$pid/cmdline" "/proc/$pid/environ" || echo "$pid"
  done
}

# daemons PIDFILE...: the pids of those that run.
daemons() {
  # shellcheck disable=SC2046  # here and below: lists of pids
  ours $(cat "$@" 2>/dev/null)
}

# stop PIDFILE...: SIGTERM to all of them, SIGKILL to those that are there 3 s later. By pid, as
# they take their pid files away long before they end.
# shellcheck disable=SC2086
stop() {
  local pids
  pids=$(daemons "$@")
  [ -n "$pids" ] || return 0
  kill $pids 2>/dev/null
  for _ in $(seq 30); do
    pids=$(ours $pids)
    [ -n "$pids" ] || return 0
    sleep 0.1
  done
  kill -9 $pids 2>/dev/null
  for _ in $(seq 20); do [ -n "$(ours $pids)" ] || return 0; sleep 0.1; done
}

# Processes of this cluster's jobs. Those which left their session and ignore SIGTERM outlive
# scancel, as do those of a node whose slurmd was killed.
of_jobs() {
  local each
  for each in $(grep -lsazx "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ); do
    ! grep -qsaz '^SLURM_JOB_ID=' "$each" || basename "$(dirname "$each")"
  done
}

# The slurmstepd above them: they hide their environment, but work where slurmd writes its log.
of_steps() {
  local each
  for each in $(grep -lsx slurmstepd /proc/[0-9]*/comm); do
    each=$(dirname "$each")
    [ "$(readlink "$each/cwd")" != "$ROOT/log" ] || basename "$each"
  done
}

if [ -n "$(daemons "$ROOT/run/slurmctld.pid")" ] &&
  [ -n "$(daemons "$ROOT/munge-run/munged.pid")" ]; then
  timeout 5 scancel --user="$(id -un)" 2>/dev/null
  # A second for those who want to end well.
  for _ in $(seq 10); do [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break; sleep 0.1; done
fi
# Several times, as a process may have children while it is killed.
for _ in 1 2 3; do
  left=$(of_jobs)
  # shellcheck disable=SC2086
  [ -z "$left" ] || kill -9 $left 2>/dev/null
done
stop "$ROOT"/run/slurmd.*.pid "$ROOT/run/slurmctld.pid"
# They end by themselves now that there are neither jobs nor a slurmd to report to.
for _ in $(seq 20); do [ -n "$(of_steps)" ] || break; sleep 0.1; done
left="$(of_steps) $(of_jobs)"
# shellcheck disable=SC2086
[ "$left" = " " ] || kill -9 $left 2>/dev/null
stop "$ROOT/run/slurmdbd.pid"
stop "$ROOT/run/mysql.pid" "$ROOT/munge-run/munged.pid"
exit 0
