#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SQLite's WAL-reset bug (3.7.0 to 3.51.2): a checkpointer that stands still after it has read its header, while the WAL
# is restarted, later hides new frames: rows of the application go back to old values. It needs somebody who moves from
# read lock 0 to another one at the wrong moment, which walbrook does all the time. So it must not do it then.
#
# The checkpointer is a process of the unit tests (test_relay peer, see test/unit/world.h) which stands still where it
# is told to. First the same with a careless reader in walbrook's place, which shows that the trap is real here.
. "${0%/*}/lib.sh"

PEER=$WALBROOK_BUILD/test/test_relay

# peer NAME: a process that takes SQL and orders by lines; `ask NAME LINE` prints its answer.
peer() {
  mkfifo "$T/$1.in" "$T/$1.out"
  "$PEER" peer <"$T/$1.in" >"$T/$1.out" 2>>"$T/peers.log" &
  PIDS+=("$!")
  local -n to=to_$1 from=from_$1
  exec {to}>"$T/$1.in" {from}<"$T/$1.out"
  ask "$1" "open $2" >/dev/null
}
hear() { # NAME
  local -n from=from_$1
  local line=nothing
  read -r -t 20 -u "$from" line
  echo "${line#ok }"
}
tell() { # NAME LINE
  local -n to=to_$1
  echo "$2" >&"$to"
}
ask() {
  tell "$@"
  hear "$1"
}

# Frames in the WAL, and how many of them are copied, as the shared index says.
frames() {
  od -An -tu4 -j16 -N4 "$1-shm" | tr -d ' '
}
copied() {
  od -An -tu4 -j96 -N4 "$1-shm" | tr -d ' '
}
all_copied() {
  [ "$(frames "$1")" = "$(copied "$1")" ]
}

# The stale checkpointer, up to where it wants read lock 0. Before: all is copied, and somebody sits on read lock 0.
go_stale() { # writer stale
  ask "$2" stall-header >/dev/null
  ask "$2" stall-read0 >/dev/null
  is "$(ask "$2" 'PRAGMA wal_checkpoint(PASSIVE)')" "stalled header" "a checkpointer has read its header and stands still"
  ask "$1" "INSERT INTO t VALUES(2, 'restarts the WAL')" >/dev/null
  is "$(ask "$2" go)" "stalled read0" "the WAL was restarted, and it goes on to read lock 0"
}

# 1. In walbrook's place: a reader on read lock 0, and another one that comes before the first one goes.
db=$T/careless.db
for name in w1 s1 a1 b1 f1; do peer "$name" "$db"; done
version=$(ask w1 'SELECT sqlite_version()')
ask w1 'PRAGMA journal_mode=wal' >/dev/null
ask w1 'PRAGMA wal_autocheckpoint=0' >/dev/null
ask w1 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)' >/dev/null
ask w1 "INSERT INTO t VALUES(1, 'first')" >/dev/null
ask s1 'SELECT count(*) FROM t' >/dev/null
for i in $(seq 20); do ask w1 "UPDATE t SET v = 'old $i' WHERE id = 1" >/dev/null; done
ask w1 'PRAGMA wal_checkpoint(PASSIVE)' >/dev/null
ask a1 BEGIN >/dev/null
ask a1 'SELECT count(*) FROM t' >/dev/null
go_stale w1 s1
ask b1 BEGIN >/dev/null
ask b1 'SELECT count(*) FROM t' >/dev/null
ask a1 COMMIT >/dev/null
tell s1 go
hear s1 >/dev/null
ask w1 "UPDATE t SET v = 'new' WHERE id = 1" >/dev/null
seen=$(ask f1 'SELECT v FROM t WHERE id = 1')
if [ "$(printf '%s\n' "$version" 3.51.3 | sort -V | head -n 1)" = 3.51.3 ]; then
  skipped 1 "SQLite $version does not have the bug"
else
  like "$seen" '^old' "beside a careless reader a row goes back (SQLite $version)"
fi

# 2. The same beside walbrook.
db=$T/guarded.db replica=$T/replica
for name in w2 s2 f2; do peer "$name" "$db"; done
ask w2 'PRAGMA journal_mode=wal' >/dev/null
ask w2 'PRAGMA wal_autocheckpoint=0' >/dev/null
ask w2 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)' >/dev/null
ask w2 "INSERT INTO t VALUES(1, 'first')" >/dev/null
start guarded replicate "$db" "file://$replica"
pid=$PID
wait_for 20 all_copied "$db"
ask s2 'SELECT count(*) FROM t' >/dev/null
for i in $(seq 20); do ask w2 "UPDATE t SET v = 'old $i' WHERE id = 1" >/dev/null; done
wait_for 20 all_copied "$db"
ok $? "walbrook has copied all"
go_stale w2 s2
sleep 1 # it is quiet for longer than the 200 ms after which walbrook wants to advance
tell s2 go
hear s2 >/dev/null
ask w2 "UPDATE t SET v = 'new' WHERE id = 1" >/dev/null
is "$(ask f2 'SELECT v FROM t WHERE id = 1')" new "beside walbrook no row goes back"
ask w2 "UPDATE t SET v = 'newest' WHERE id = 1" >/dev/null
wait_for 20 all_copied "$db"
is "$(ask f2 'SELECT v FROM t WHERE id = 1')" newest "also not after all was copied again"
stop "$pid"
is "$rc" 0 "walbrook stopped with everything shipped"
restores_to "$replica" "$db"
ok $? "and the replica restores to the same"

done_testing
