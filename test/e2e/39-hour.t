#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# An hour of many databases, in half a minute (test/tools/fasttime.c: the daemon's time runs 150 times as fast). A few are
# written to now and then, the others rest. Snapshots and retention go by their intervals, the daemon tells its hourly
# summary, and the memory at the end is what it was at the beginning. DATABASES=1000 for the number that was promised.
. "${0%/*}/lib.sh"

FAST=150
N=${DATABASES:-200} BUSY=10
case $WALBROOK_BUILD in
*-asan | *-ubsan | *-tsan)
  skipped 1 "a sanitizer and a preloaded library do not go together"
  done_testing
  exit 0
  ;;
esac
d=$T/data
mkdir "$d"
sql "$T/one.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
for ((i = 0; i < N; i++)); do cp "$T/one.db" "$d/$i.db"; done
cat >"$T/w.yml" <<END
socket: $T/control.sock
dbs:
  - path: $d/*.db
    replicas:
      - path: $T/r
        sync-interval: 1m
        snapshot-interval: 10m
        retention: 25m
        retention-check-interval: 3m
END
FASTTIME=$FAST LD_PRELOAD=$WALBROOK_BUILD/test/libfasttime.so "$WALBROOK" replicate -config "$T/w.yml" </dev/null >"$T/hour.log" 2>&1 &
PID=$!
PIDS+=("$PID")
count() { grep -c "$1" "$T/hour.log"; }
all_there() { [ "$(count 'msg="snapshot written"')" -ge "$N" ]; }
wait_for 60 all_there
ok $? "$N databases are there"
resident() { awk '/VmRSS/ { print $2 }' "/proc/$PID/status"; }
write_some() { # to the busy ones, and waits until that is two minutes ago for the daemon
  local i
  for ((i = 0; i < BUSY; i++)); do
    sql "$d/$i.db" 'INSERT INTO t VALUES(randomblob(3000)); DELETE FROM t WHERE rowid < (SELECT max(rowid) - 10 FROM t)'
  done
  sleep 0.8
}
write_some
write_some
before=$(resident)
hour() { says hour 'summary of the last hour'; }
until_s=$((SECONDS + 120))
until hour || [ "$SECONDS" -ge "$until_s" ]; do write_some; done
hour
ok $? "after an hour the daemon sums up"
write_some
after=$(resident)
note "resident: $before KiB, an hour later $after KiB ($N databases, $BUSY of them written to)"
[ "$after" -lt $((before + 1024)) ]
ok $? "the memory does not grow"

written() { grep -c "msg=\"snapshot written\" db=$d/$1\\.db" "$T/hour.log"; }
present() { ls "$T/r/$1.db/generations/"*/snapshots/*.lz4 | wc -l; }
bad='' seen=''
for ((i = 0; i < BUSY; i++)); do
  w=$(written "$i") p=$(present "$i")
  seen="$seen $w/$p"
  # One each 10 minutes, a hundred minutes at most if this machine is slow; of those the last 25 minutes and one more stay.
  [ "$w" -ge 4 ] && [ "$w" -le 11 ] && [ "$p" -ge 2 ] && [ "$p" -le 5 ] && [ "$p" -lt "$w" ] || bad="$bad $i"
done
note "snapshots written/present:$seen"
is "$bad" "" "snapshots come by their interval, and retention takes the old ones"
bad=''
for ((i = BUSY; i < N; i++)); do
  [ "$(written "$i")/$(present "$i")" = 1/1 ] || bad="$bad $i:$(written "$i")/$(present "$i")"
done
is "$bad" "" "a database that rests has its one snapshot, however old"
is "$(count 'level=ERROR')" 0 "no error in an hour"
stop "$PID"
is "$rc" 0 "it ends well"
bad=0
for i in 0 $((BUSY - 1)) $((N - 1)); do
  restores_to "$T/r/$i.db" "$d/$i.db" || bad=1
done
ok "$bad" "and all restores"
done_testing
