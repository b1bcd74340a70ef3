#!/bin/bash
# A Grid Engine of one host, from Debian's packages, with all that it writes in FOLDER: cluster.sh FOLDER PORT ADDRESS
# It has a host name of its own, for its daemons refuse one that means 127.0.0.1. It ends with this script's process.
set -e
base=$1 port=$2 address=$3
root=/var/lib/gridengine
mkdir -p "$base"/{default/common,spool/execd,conf}
for part in bin lib util utilbin; do ln -s "$root/$part" "$base/$part"; done
cp -r /var/spool/gridengine/qmaster /var/spool/gridengine/spooldb "$base/spool"
cat > "$base/default/common/bootstrap" <<END
Version: 6.2
admin_user none
default_domain none
ignore_fqdn true
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params $base/spool/spooldb
binary_path /usr/sbin
qmaster_spool_dir $base/spool/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
END
echo gehost > "$base/default/common/act_qmaster"
printf '127.0.0.1 localhost\n%s gehost\n' "$address" > "$base/hosts"
hostname gehost
mount --bind "$base/hosts" /etc/hosts
export SGE_ROOT=$base SGE_CELL=default SGE_QMASTER_PORT=$port SGE_EXECD_PORT=$((port + 1)) SGE_ND=1
/usr/sbin/sge_qmaster &
until qconf -sh > /dev/null 2>&1; do sleep 0.2; done
qconf -sconf | sed -e 1d -e "s#^execd_spool_dir.*#execd_spool_dir $base/spool/execd#" -e 's#^min_uid.*#min_uid 0#' \
  -e 's#^min_gid.*#min_gid 0#' -e 's#^load_report_time.*#load_report_time 00:00:02#' > "$base/conf/global"
qconf -Mconf "$base/conf/global"
qconf -ssconf | sed -e 's/^schedule_interval.*/schedule_interval 0:0:1/' -e 's/^flush_submit_sec.*/flush_submit_sec 1/' \
  -e 's/^flush_finish_sec.*/flush_finish_sec 1/' > "$base/conf/scheduler"
qconf -Msconf "$base/conf/scheduler"
qconf -as gehost
for line in "hostname gehost" "load_scaling NONE" "complex_values NONE" "user_lists NONE" "xuser_lists NONE" \
  "projects NONE" "xprojects NONE" "usage_scaling NONE" "report_variables NONE"; do echo "$line"; done > "$base/conf/host"
qconf -Ae "$base/conf/host"
qconf -sq | sed -e 's/^qname.*/qname all.q/' -e 's/^hostlist.*/hostlist gehost/' -e 's/^slots.*/slots 4/' \
  -e 's/^load_thresholds.*/load_thresholds NONE/' -e 's#^shell .*#shell /bin/sh#' -e 's/^pe_list.*/pe_list NONE/' \
  > "$base/conf/queue"
qconf -Aq "$base/conf/queue"
/usr/sbin/sge_execd &
touch "$base/ready"
wait
