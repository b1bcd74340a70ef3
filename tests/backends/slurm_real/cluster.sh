#!/bin/bash
# SLURM for the tests: controller, accounting and several nodes, all on this host, each node in namespaces of its own.
# For root, on Debian, with what virtual_cluster.py installs; systemd is not needed.
#
#   cluster.sh start|stop|status|reset|env
#   cluster.sh node-kill nX     the whole node dies at once: slurmd AND every job process on it (pid namespace)
#   cluster.sh node-start nX    (re)start one node
#   cluster.sh slurmd-kill nX   only slurmd dies (SIGKILL); its jobs' processes go on running
#   cluster.sh slurmd-start nX  slurmd comes back on the same still-running node, unless it is there
#   cluster.sh ctl-stop|ctl-kill|ctl-start|dbd-stop|dbd-start   the controller / the accounting daemon alone
#
# It lives in the folder $SLURM_BASE alone and leaves /etc as it is. A process gets a signal only if its pid and the time
# of its start are what $SLURM_BASE/run has recorded. It ends, and its folder goes, with the process $SLURM_OWNER.
set -euo pipefail
BASE=${SLURM_BASE:-${TMPDIR:-/tmp}/slurm-cluster}
NODES=${SLURM_NODES:-3}; NODE_CPUS=${SLURM_NODE_CPUS:-4}; NODE_MEM=${SLURM_NODE_MEM:-4000}
P0=${SLURM_PORT_BASE:-17000}             # slurmctld P0, slurmdbd P0+1, mariadb P0+2, slurmd P0+10+i
MEM_MODE=${SLURM_MEM_MODE:-auto}         # auto | cgroup | gather   (gather: jobacct_gather/linux + OverMemoryKill)
ACCT=${SLURM_ACCT:-dbd}                   # dbd | none  (none: no MariaDB, no slurmdbd, no sacct but "sacct -c")
MIN_JOB_AGE=${SLURM_MIN_JOB_AGE:-120}    # seconds a finished job stays in squeue/scontrol
MAX_ARRAY=${SLURM_MAX_ARRAY:-10001}       # jobs in one array
OWNER=${SLURM_OWNER:-}                    # pid of the process that the cluster is for; none: it stays until "stop"
CTL=$P0; DBD=$((P0+1)); SQL=$((P0+2))
ETC=$BASE/etc RUN=$BASE/run LOG=$BASE/log
export SLURM_CONF=$ETC/slurm.conf PATH=$PATH:/usr/sbin:/sbin
HOST=$(hostname -s)

stime() { local s; s=$(cat /proc/$1/stat 2>/dev/null) || return 1; s=${s##*) }; set -- $s
  case $1 in Z|X) return 1;; esac; echo ${20}; }           # a zombie is gone: in a container it may wait long to be reaped
record() { echo "$2 $(stime $2)" > $RUN/$1.pid; }          # name pid
alive() { local p t; { read -r p t < $RUN/$1.pid; } 2>/dev/null || return 1; [ -n "$t" ] && [ "$(stime $p)" = "$t" ]; }
pid_of() { cut -d' ' -f1 $RUN/$1.pid; }
launch() { local n=$1; shift; alive $n && return 0         # name cmd... : its own session, pid recorded
  setsid "$@" >>$LOG/$n.out 2>&1 </dev/null & record $n $!; }
wait_for() { local s=$1 end=$((SECONDS+$1)); shift   # a bash function is called as is, a command under timeout
  while [ $SECONDS -le $end ]; do
    if [ "$(type -t "$1")" = function ]; then "$@" >/dev/null 2>&1 && return 0
    else timeout 5 "$@" >/dev/null 2>&1 && return 0; fi
    sleep 0.05; done
  echo "cluster.sh: gave up after ${s}s waiting for: $*" >&2; return 1; }
# name [signal]: ask the recorded process to end, wait for 10 s, then SIGKILL
end() { local n=$1 sig=${2:-TERM} i p; if alive $n; then p=$(pid_of $n); kill -$sig $p 2>/dev/null || true
    for ((i=0;i<200;i++)); do alive $n || break; sleep 0.05; done
    if alive $n; then kill -KILL $p || true; fi; fi; rm -f $RUN/$n.pid; }
port_up() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; }
nodes() { local i; for ((i=1;i<=NODES;i++)); do echo n$i; done; }

use_cgroup() { case $MEM_MODE in cgroup) return 0;; gather) return 1;; esac
  # SLURM 22.05 limits memory by version 1 of the control groups; without a writable one, jobs are watched instead
  [ -f /sys/fs/cgroup/memory/release_agent ] && [ -f /sys/fs/cgroup/freezer/release_agent ] \
    && [ -w /sys/fs/cgroup/memory ] && mkdir -p /sys/fs/cgroup/memory/slurm_cluster_t 2>/dev/null \
    && rmdir /sys/fs/cgroup/memory/slurm_cluster_t; }

configs() {
  mkdir -p $BASE $ETC $RUN $LOG $BASE/state $BASE/spool $BASE/db $BASE/munge
  chmod 755 $BASE $ETC $RUN $LOG $BASE/spool
  mkdir -p $RUN/slurm; chown slurm: $BASE/state $LOG $RUN/slurm; chown munge: $BASE/munge; chmod 711 $BASE/munge; chown mysql: $BASE/db
  [ -s $BASE/munge/key ] || { dd if=/dev/urandom of=$BASE/munge/key bs=128 count=1 status=none; }
  chown munge: $BASE/munge/key; chmod 400 $BASE/munge/key
  local acct n i
  local store="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$DBD
# despite its name: the munge socket used towards slurmdbd (AuthInfo does not cover that connection)
AccountingStoragePass=$BASE/munge/socket
AccountingStoreFlags=job_comment,job_script"
  [ $ACCT = dbd ] || store="AccountingStorageType=accounting_storage/none"
  if use_cgroup; then acct="ProctrackType=proctrack/linuxproc
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1"
  else acct="ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss"; fi
  cat > $ETC/cgroup.conf <<X
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
ConstrainCores=no
ConstrainDevices=no
AllowedRAMSpace=100
X
  cat > $ETC/slurm.conf <<X
ClusterName=virtual
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it may start again (default 120 s)
AuthInfo=socket=$BASE/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=$CTL
SlurmctldPidFile=$RUN/slurm/slurmctld.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmctldDebug=info
SlurmdPidFile=$BASE/spool/%n.pid
SlurmdLogFile=$LOG/slurmd-%n.log
SlurmdSpoolDir=$BASE/spool/%n
SlurmdDebug=info
StateSaveLocation=$BASE/state
SwitchType=switch/none
MpiDefault=none
$acct
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=200
# nodes may claim more cpus than this host has
SlurmdParameters=config_overrides
# at a preemption with a GraceTime, also send the job's own --signal (submitit's USR2) at once
SlurmctldParameters=preempt_send_user_signal
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue,default_queue_depth=500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxArraySize=$MAX_ARRAY
MinJobAge=$MIN_JOB_AGE
KillWait=2
CompleteWait=0
InactiveLimit=0
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
BatchStartTimeout=10
UnkillableStepTimeout=15
TCPTimeout=2
Waittime=0
ReturnToService=2
$store
JobCompType=jobcomp/filetxt
JobCompLoc=$LOG/jobcomp.txt
X
  i=0; for n in $(nodes); do i=$((i+1))
    echo "NodeName=$n NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((P0+10+i)) CPUs=$NODE_CPUS RealMemory=$NODE_MEM State=UNKNOWN"; done >> $ETC/slurm.conf
  cat >> $ETC/slurm.conf <<X
PartitionName=main Nodes=ALL Default=YES MaxTime=1:00:00 DefaultTime=10 PriorityTier=5  PreemptMode=OFF State=UP
PartitionName=low  Nodes=ALL MaxTime=1:00:00 DefaultTime=10 PriorityTier=1  PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=lowgrace Nodes=ALL MaxTime=1:00:00 DefaultTime=10 PriorityTier=1  PreemptMode=REQUEUE GraceTime=15 State=UP
PartitionName=high Nodes=ALL MaxTime=1:00:00 DefaultTime=10 PriorityTier=10 PreemptMode=OFF State=UP
X
  ( umask 077; cat > $ETC/slurmdbd.conf <<X
AuthType=auth/munge
AuthInfo=socket=$BASE/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$DBD
SlurmUser=slurm
DebugLevel=info
LogFile=$LOG/slurmdbd.log
PidFile=$RUN/slurm/slurmdbd.pid
CommitDelay=0
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$SQL
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
X
  )
  chown slurm: $ETC/slurmdbd.conf; chmod 600 $ETC/slurmdbd.conf; chmod 644 $ETC/slurm.conf $ETC/cgroup.conf
  printf 'export SLURM_CONF=%s PATH="$PATH:/usr/sbin"\n' $SLURM_CONF > $BASE/env.sh
}

start_munge() { alive munged && return 0; rm -f $BASE/munge/socket*
  launch munged setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --num-threads=4 \
    --key-file=$BASE/munge/key --socket=$BASE/munge/socket --pid-file=$BASE/munge/munged.pid \
    --log-file=$BASE/munge/munged.log --seed-file=$BASE/munge/seed
  wait_for 60 munge -n --socket=$BASE/munge/socket; }
start_db() { alive mariadbd && return 0
  if [ ! -d $BASE/db/data/mysql ]; then rm -rf $BASE/db/data
    mariadb-install-db --no-defaults --user=mysql --datadir=$BASE/db/data --auth-root-authentication-method=socket \
      --skip-test-db >$LOG/mariadb-install.log 2>&1; fi
  cat > $BASE/db/init.sql <<'X'
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
X
  chown mysql: $BASE/db/init.sql
  launch mariadbd mariadbd --no-defaults --user=mysql --datadir=$BASE/db/data --socket=$BASE/db/sock \
    --pid-file=$BASE/db/mariadbd.pid --port=$SQL --bind-address=127.0.0.1 --init-file=$BASE/db/init.sql \
    --innodb-buffer-pool-size=256M --innodb-log-file-size=64M --innodb-lock-wait-timeout=900 \
    --innodb-flush-log-at-trx-commit=0 --skip-log-bin --skip-name-resolve --performance-schema=OFF
  wait_for 90 mariadb --no-defaults -h127.0.0.1 -P$SQL -uslurm -pslurm -e 'select 1' slurm_acct_db; }
start_dbd() { launch slurmdbd slurmdbd -D; wait_for 60 port_up $DBD
  wait_for 60 sacctmgr -nP show cluster
  sacctmgr -nP show cluster format=cluster | grep -qx virtual || sacctmgr -i add cluster virtual >/dev/null; }
start_ctl() { launch slurmctld slurmctld -D
  wait_for 60 sh -c 'scontrol ping | grep -q "is UP"'; }
start_node() { local n=$1; alive node-$n && return 0; mkdir -p $BASE/spool/$n; rm -f $BASE/spool/$n.pid
  # one pid+uts+mount namespace a node: its first process is an init that stays when slurmd dies,
  # and ending it ends every process of the node at once
  launch node-$n unshare --pid --uts --mount --fork --mount-proc --kill-child=KILL \
    bash "$(readlink -f "$0")" __init $n; }
node_init() { local n=$1 slurmd=; hostname $n; rm -f $RUN/$n.go; : > $RUN/$n.go   # pid 1 of the node
  trap 'exit 0' TERM
  while :; do
    if [ -e $RUN/$n.go ]; then rm -f $RUN/$n.go
      kill -0 $slurmd 2>/dev/null || { SLURMD_NODENAME=$n slurmd -D -N $n & slurmd=$!; }; fi
    sleep 0.2 & wait $! || true
  done; }
# pid (seen from the host) of the slurmd of node nX
slurmd_pid() { local init=$(pid_of node-$1) k c; k=$(cat /proc/$init/task/*/children)   # unshare -> init
  for c in $(cat /proc/${k%% *}/task/*/children); do
    [ "$(tr '\0' ' ' </proc/$c/cmdline 2>/dev/null)" = "slurmd -D -N $1 " ] && { echo $c; return 0; }; done; return 1; }

# The daemons are in sessions of their own and would outlive an owner that is killed.
start_guard() { [ -z "$OWNER" ] || launch guard bash "$(readlink -f "$0")" __guard $OWNER $(stime $OWNER); }
guard() { while [ "$(stime $1)" = "$2" ]; do sleep 1; done; rm -f $RUN/guard.pid; stop; rm -rf "$BASE"; }

start() { configs; start_guard; start_munge; [ $ACCT != dbd ] || { start_db; start_dbd; }; start_ctl; local n; for n in $(nodes); do start_node $n; done
  wait_for 60 sh -c "[ \$(sinfo -hN -p main -t idle,mix,alloc -o %N | sort -u | wc -l) = $NODES ]"; }
stop() { local n; [ -d $RUN ] || return 0; end guard KILL
  for n in $(ls $RUN | sed -n 's/^node-\(.*\)\.pid$/\1/p'); do end node-$n KILL; rm -f $RUN/$n.go; done
  end slurmctld; end slurmdbd; end mariadbd; end munged
  local d; for d in /sys/fs/cgroup/*/slurm_n[0-9]*; do [ -d $d ] && find $d -depth -type d -exec rmdir {} + 2>/dev/null || true; done; }  # another cluster may use them

case ${1:-} in
  start) start;; stop) stop;;
  reset) stop; rm -rf "$BASE";;
  status) for p in $RUN/*.pid; do p=$(basename $p .pid); alive $p && echo "$p $(pid_of $p) up" || echo "$p down"; done; sinfo -N;;
  env) cat $BASE/env.sh;;
  node-kill) end node-$2 KILL;; node-start) start_node $2;;
  ctl-stop) end slurmctld;; ctl-kill) end slurmctld KILL;; ctl-start) start_ctl;;
  dbd-stop) end slurmdbd;; dbd-start) start_dbd;;
  slurmd-kill) kill -KILL $(slurmd_pid $2);; slurmd-start) : > $RUN/$2.go;;
  __init) node_init $2;; __guard) guard $2 $3;;
  *) sed -n '2,14p' "$0"; exit 2;;
esac
