#!/usr/bin/env bash
# Start a one-node SLURM on this machine, to try `wbcstudy run --executor slurm` without a cluster.
#
#   sudo apt install slurm-wlm munge                                # Debian, Ubuntu
#   sudo profiles/slurm_one_node/start_slurm.sh                     # does nothing if SLURM is running
#   sudo profiles/slurm_one_node/start_slurm.sh stop
#
# The cluster has one node (this machine), one partition (main) and no accounting; jobs are scheduled by cores and
# memory. The script never changes an /etc/slurm/slurm.conf that it has not written.
set -euo pipefail

CONF=/etc/slurm/slurm.conf
MARK="# written by wbcstudy's start_slurm.sh"
STATE=/var/spool/wbcstudy-slurm

fail() { echo "start_slurm.sh: $*" >&2; exit 1; }

# Stop the daemons that this script started, and no others.
stop() {
  grep -qxF "$MARK" "$CONF" 2>/dev/null || { echo "start_slurm.sh: no SLURM started by this script"; return; }
  for daemon in slurmctld slurmd munge/munged; do
    pid=$(cat "/run/$daemon.pid" 2>/dev/null) || continue
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${daemon##*/}" ] && kill "$pid"
  done
  rm -f "$CONF"
}

[ "$(id -u)" = 0 ] || fail "needs root to start services: sudo $0"
for program in munged slurmctld slurmd sinfo; do
  command -v "$program" >/dev/null || fail "$program not found; on Debian and Ubuntu: apt install slurm-wlm munge"
done
if [ "${1:-start}" = stop ]; then stop; exit 0; fi
if [ -e "$CONF" ] && ! grep -qxF "$MARK" "$CONF"; then
  fail "$CONF exists and was not written by this script: SLURM is already set up here"
fi
if sinfo -h >/dev/null 2>&1; then echo "SLURM is already running."; exit 0; fi

HOST=$(hostname -s)
MEMORY=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
mkdir -p "$(dirname "$CONF")" "$STATE/ctld" "$STATE/d" /var/log/slurm
cat > "$CONF" <<CONFIG
$MARK
ClusterName=wbcstudy
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# Containers often have no control groups and cannot pin tasks.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=5
# Keep finished jobs for an hour: without accounting, squeue is the only source of their final state.
MinJobAge=3600
ReturnToService=2
KillWait=5
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/d
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
MailProg=/bin/true
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$MEMORY State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONFIG

if [ ! -e /etc/munge/munge.key ]; then
  mkdir -p /etc/munge
  dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
fi
mkdir -p /run/munge /var/log/munge /var/lib/munge
chown -R munge: /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 400 /etc/munge/munge.key
pgrep -x munged >/dev/null || setpriv --reuid=munge --regid=munge --clear-groups munged
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd
for _ in $(seq 30); do
  if sinfo -h -t idle,mixed,allocated -o %N 2>/dev/null | grep -q .; then
    sinfo
    exit 0
  fi
  scontrol update "nodename=$HOST" state=resume 2>/dev/null || true
  sleep 1
done
fail "the node did not come up; see /var/log/slurm/"
