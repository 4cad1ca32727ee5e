#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The spool reaches its quota (spool-quota, at least 1 MiB) while no replica takes anything: the database is in a gap,
# says so, its WAL does not grow for our sake, and a stop ends with status 8. When a replica takes segments again a new
# generation begins by itself, in the same run or in the next one.
. "${0%/*}/lib.sh"

db=$T/app.db
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
cat >"$T/c.yml" <<END
socket: $T/control.sock
shutdown-timeout: 1s
dbs:
  - path: $db
    spool-quota: 1MiB
    replicas: [{ path: $T/r, sync-interval: 20ms }]
END
begin() {
  start daemon replicate -config "$T/c.yml"
  wait_for 20 says daemon 'msg="(snapshot written|generation continues|new generation)"'
}
asks() { run walbrook status -socket "$T/control.sock" "$@"; }
in_state() { # STATE
  asks -json
  printf '%s\n' "$out" | sed '/^walbrook: /d' >"$T/status.json"
  [ "$(sqlite3 :memory: "SELECT json_extract(readfile('$T/status.json'), '\$.databases[0].state')" 2>/dev/null)" = "$1" ]
}
take_away() { # a file where the replica was: whoever is root meets a refusal, too
  mv "$T/r" "$T/away" && touch "$T/r"
}
bring_back() {
  rm "$T/r" && mv "$T/away" "$T/r"
}
burst() { # 3 MB that cannot be compressed, each commit seen before the next, and what is held back is let go
  local i
  for i in 1 2 3 4 5 6; do
    sql "$db" 'INSERT INTO t VALUES(randomblob(500000))'
    sleep 0.2
  done
}

begin
wait_for 20 replica_has "$T/r" 'SELECT count(*) FROM t' 1
first=$(ls "$T/r/generations")
take_away
burst
wait_for 20 in_state gap
ok $? "more than the quota waits: the state is gap"
asks
is "$rc" 1 "status ends with 1"
like "$out" 'the spool has reached its quota of 1048576 bytes' "and says why"
like "$out" 'a new generation begins by itself' "and what will be"
spooled=$(du -sb "$T/.app.db-litestream/walbrook/spool" | cut -f1)
burst
is "$(du -sb "$T/.app.db-litestream/walbrook/spool" | cut -f1)" "$spooled" "nothing more goes into the spool"
copied() { # all frames of the WAL are in the database: its next writer begins it anew
  [ "$(sqlite3 "file:$db?mode=ro" 'PRAGMA wal_checkpoint' 2>/dev/null | awk -F'|' '{ print $2 - $3 }')" = 0 ]
}
wait_for 10 copied
ok $? "the WAL is let go all the same"

bring_back
wait_for 60 in_state idle
ok $? "a replica takes segments again: the gap ends by itself"
wait_for 30 replica_has "$T/r" 'SELECT count(*) FROM t' 13
ok $? "and everything is there"
is "$(generations "$T/r")" 2 "in a new generation"
run walbrook restore -generation "$first" -o "$T/first.db" "$T/r"
is "$rc" 0 "the one before restores to where it ended"
n=$(sql "$T/first.db" 'SELECT count(*) FROM t')
[ "$n" -gt 1 ] && [ "$n" -lt 13 ]
ok $? "behind the quota ($n of 13 rows)"

take_away
burst
wait_for 20 in_state gap
ok $? "once more"
stop "$PID"
is "$rc" 8 "stopped in a gap: exit status 8"
says daemon 'not everything was captured; the next start goes on, or begins a new generation'
ok $? "which is explained"

bring_back
begin
wait_for 60 replica_has "$T/r" 'SELECT count(*) FROM t' 19
ok $? "the next run makes it good"
stop "$PID"
is "$rc" 0 "and ends with 0"
restores_to "$T/r" "$db"
ok $? "the replica is the database"
done_testing
