#!/usr/bin/env bash
# A campaign on the test Slurm, with a node that dies on the way; then what it cost.
# Usage: slurm-demo.sh DASKHPO [DIRECTORY]   (needs root and Debian's slurmctld, slurmd, munge)
set -euo pipefail

DASKHPO=${1:?the daskhpo command}
RUN=${2:-runs/slurm-demo}
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(mktemp -d /tmp/daskhpo-slurm-XXXX)
export PATH="$PATH:/usr/sbin:/sbin"

leave() {
  [ -n "${DRIVER:-}" ] && kill "$DRIVER" 2>/dev/null && wait "$DRIVER" 2>/dev/null
  "$HERE/slurm-down.sh" "$ROOT" >/dev/null 2>&1
  rm -rf "$ROOT"
}
trap leave EXIT

for command in slurmctld slurmd munged sbatch; do
  command -v "$command" >/dev/null || {
    echo "$command is missing: apt-get install slurmctld slurmd slurm-client munge" >&2
    exit 1
  }
done
rm -rf "$RUN"
"$HERE/slurm-up.sh" "$ROOT" >/dev/null
export SLURM_CONF="$ROOT/etc/slurm.conf"
echo "A Slurm of four nodes is up:"
sinfo -N -o '%N %T %G'
echo

"$DASKHPO" run "$HERE/../data/slurm-demo.yaml" --path "$RUN" &
DRIVER=$!

# The node of a trial that has trained for a while dies: its job ends with NODE_FAIL.
reports() { cat "$RUN/journal.jsonl" 2>/dev/null | grep -c '"kind":"reported"' || true; }
until [ "$(reports)" -ge 6 ]; do
  kill -0 "$DRIVER" 2>/dev/null || wait "$DRIVER"
  sleep 0.5
done
NODE=$(squeue -h -t RUNNING -o %N | head -n 1)
echo "killing $NODE"
scontrol update nodename="$NODE" state=down reason="killed by the demo"

wait "$DRIVER"
DRIVER=
echo
"$DASKHPO" hours "$RUN" --reconcile
