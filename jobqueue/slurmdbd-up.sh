#!/usr/bin/env bash
# The database behind job accounting (sacct) of a test Slurm: MariaDB under ROOT, and the
# configuration of slurmdbd, which slurm-up.sh then starts. slurm-down.sh ROOT ends all of it.
#
#   export SLURM_TEST_DBD=1; slurmdbd-up.sh ROOT && slurm-up.sh ROOT
#
# SLURM_TEST_PORT as for slurm-up.sh: slurmdbd takes the 90th port after it, the database the 91st.
# Needs root and, beyond what slurm-up.sh does, the packages slurmdbd, slurm-wlm-mysql-plugin and
# mariadb-server (200 MB on disk): tests do not need them, as scontrol knows enough.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
ROOT=$(cd "$1" && pwd -P)
BASE=${SLURM_TEST_PORT:-17000}

fail() { echo "slurmdbd-up.sh: $*" >&2; exit 1; }
for each in slurmdbd mariadbd mariadb mariadb-admin mariadb-install-db; do
  command -v "$each" >/dev/null ||
    fail "$each is missing: apt-get install slurmdbd slurm-wlm-mysql-plugin mariadb-server"
done
[ "$(id -u)" = 0 ] || fail "needs root"
for port in $((BASE + 90)) $((BASE + 91)); do
  ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null ||
    fail "port $port is taken: choose another SLURM_TEST_PORT (now $BASE)"
done

mkdir -p "$ROOT"/{etc,log,run,db,munge,munge-run}
# The options of this machine's own database, if it has one, are none of ours: --no-defaults.
if [ ! -d "$ROOT/db/mysql" ]; then
  mariadb-install-db --no-defaults --user=root --datadir="$ROOT/db" --skip-test-db \
    --auth-root-authentication-method=socket >"$ROOT/log/mysql_install.log" 2>&1 ||
    fail "no database can be made: see $ROOT/log/mysql_install.log"
fi
# slurmdbd refuses to work with the default lock timeout.
setsid mariadbd --no-defaults --user=root --datadir="$ROOT/db" --socket="$ROOT/run/mysql.sock" \
  --pid-file="$ROOT/run/mysql.pid" --bind-address=127.0.0.1 --port=$((BASE + 91)) \
  --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
  </dev/null >"$ROOT/log/mariadb.log" 2>&1 &
for _ in $(seq 100); do
  mariadb-admin --no-defaults -S "$ROOT/run/mysql.sock" ping >/dev/null 2>&1 && break
  sleep 0.1
done
mariadb --no-defaults -S "$ROOT/run/mysql.sock" <<'SQL' || fail "see $ROOT/log/mariadb.log"
create database if not exists slurm_acct_db;
create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';
SQL
# slurmdbd does not start with a configuration that others could read.
(umask 077; cat >"$ROOT/etc/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge-run/munge.socket
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((BASE + 90))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((BASE + 91))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=$ROOT/log/slurmdbd.log
PidFile=$ROOT/run/slurmdbd.pid
CONF
