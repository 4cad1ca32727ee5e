#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Many databases over a long time, shortened: burst after burst on all of them, and the memory after the last is what it
# was after the second. Databases that come and go leave nothing behind either.
. "${0%/*}/lib.sh"

N=40
d=$T/data
mkdir "$d"
for ((i = 0; i < N; i++)); do
  sql "$d/$i.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
done
cat >"$T/w.yml" <<END
dbs:
  - path: $d/*.db
    replicas: [{ path: $T/r, sync-interval: 20ms, retention: 1s, retention-check-interval: 1s, snapshot-interval: 2s }]
END
start many replicate -config "$T/w.yml"
snapshots() { [ "$(grep -c 'msg="snapshot written"' "$T/many.log")" -ge "$1" ]; }
wait_for 30 snapshots "$N"
ok $? "$N databases are there"

burst() { # commits on all of them
  local i k
  for ((i = 0; i < N; i++)); do
    for ((k = 0; k < 5; k++)); do
      echo "INSERT INTO t VALUES(randomblob(20000)); DELETE FROM t WHERE rowid < (SELECT max(rowid) - 5 FROM t);"
    done | sql "$d/$i.db"
  done
}

come_and_go() { # another $N, for a moment; $1 keeps the names of each time apart
  local i
  for ((i = 0; i < N; i++)); do cp "$d/$i.db" "$d/new-$i.db"; done
  wait_for 30 entered "$1" || return
  for ((i = 0; i < N; i++)); do rm -f "$d/new-$i.db" "$d/new-$i.db"-*; done
  wait_for 30 left "$1" || return
  rm -rf "$d"/.new-*
}
entered() { [ "$(grep -c 'msg="new generation" db=.*/new-' "$T/many.log")" -ge $(($1 * N)) ]; }
left() { [ "$(grep -c 'msg="database is let go" db=.*/new-' "$T/many.log")" -ge $(($1 * N)) ]; }

# What it holds once it has rested, in KiB. A database that rests gives freed memory back (one that leaves does not, so
# there is a burst before each look); it rests 2 s after its last commit.
rest() {
  burst
  sleep 3
  awk '/VmRSS/ { print $2 }' "/proc/$PID/status"
}

burst
come_and_go 1
second=$(rest)
for b in 3 4 5 6 7 8 9; do burst; done
for g in 2 3 4; do come_and_go "$g" || break; done
tenth=$(rest)
is "$g" 4 "databases come and go"
is "$(ls "/proc/$PID/fd" | wc -l | awk -v n="$N" '{ print ($1 <= 8 * n + 40) }')" 1 "no descriptor stays behind"
note "resident after burst 2: $second KiB, after burst 10: $tenth KiB ($N databases, and as many that came and went 4 times)"
case $WALBROOK_BUILD in
*-asan | *-ubsan | *-tsan) skipped 1 "a sanitizer keeps memory that was freed" ;;
*)
  [ "$tenth" -lt $((second + 1024)) ]
  ok $? "the memory does not grow"
  ;;
esac
stop "$PID"
is "$rc" 0 "everything is shipped"
bad=0
for ((i = 0; i < N; i += 13)); do
  restores_to "$T/r/$i.db" "$d/$i.db" || bad=1
done
ok "$bad" "and restores"
done_testing
