#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Restore by time is exact: for a random history of an application (large and small transactions, VACUUM, bursts) under a
# daemon that begins the WAL anew all the time, takes snapshots, is stopped once and killed four times, `-timestamp` of each
# commit gives the database as it was then, also of those around a kill. test/tools/moments.c tells what is checked. SEED repeats a history as far as
# time lets it; SECS (20) is the time for all of it.
. "${0%/*}/lib.sh"

SEED=${SEED:-$RANDOM} SECS=${SECS:-20}
note "SEED=$SEED SECS=$SECS"
moments=$WALBROOK_BUILD/test/moments
db=$T/app.db replica=$T/replica
write_secs=$((SECS * 2 / 5)) check_secs=$((SECS / 2))
cat >"$T/c.yml" <<END
dbs:
  - path: $db
    min-checkpoint-page-count: 40
    checkpoint-interval: 300ms
    replicas:
      - { path: $replica, sync-interval: 20ms, snapshot-interval: 1s }
END

"$moments" write "$db" "$T/log" 0 "$SEED" 2>&1
ok $? "a database"
start daemon replicate -config "$T/c.yml"
daemon=$PID
"$moments" write "$db" "$T/log" "$write_secs" "$SEED" >"$T/writer.log" 2>&1 &
writer=$!
PIDS+=("$writer")

wait_for 20 test -d "$replica/generations"
sleep "0.$((RANDOM % 10))"
sleep $((write_secs / 3))
stop "$daemon"
is "$rc" 0 "the daemon stops while the application goes on"
sleep 0.2
start run0 replicate -config "$T/c.yml"
daemon=$PID
restorable() { # RUN: the generation that it is in has a snapshot
  local g
  g=$(sed -n 's/.*msg="\(new generation\|generation continues\)".* generation=\([0-9a-f]*\).*/\2/p' "$T/$1.log" | tail -n 1)
  [ -n "$g" ] && ls "$replica/generations/$g/snapshots/"*.lz4 >/dev/null 2>&1
}
wait_for 20 restorable run0
for pause in 0 0.1 0 0.5; do # the WAL goes on where it was, or was begun anew meanwhile: a new generation
  sleep "$((write_secs / 10)).$((RANDOM % 10))"
  kill -9 "$daemon"
  wait "$daemon" 2>/dev/null
  sleep "$pause"
  run=$((${run:-0} + 1))
  start "run$run" replicate -config "$T/c.yml"
  daemon=$PID
  wait_for 20 restorable "run$run"
done
reap "$writer" 60
is "$rc" 0 "the application ends"
stop "$daemon" TERM 60
is "$rc" 0 "everything is shipped"

out=$(timeout -k 5 120 "$moments" check "$replica" "$T/log" "$check_secs" "$SEED" 2>&1)
is "$?" 0 "each moment is restored as it was (SEED=$SEED)" || note "$out"
note "$out"
like "$out" 'commits=[0-9]{3,}' "there were many"
like "$out" 'indexes=([5-9]|[0-9]{2,})' "in several WAL indexes"
like "$out" 'snapshots=([2-9]|[0-9]{2,})' "with several snapshots"
like "$out" 'checked=[0-9]{2,}' "and many were restored"

# What a person sees who asks for too early a time.
run walbrook restore -o "$T/x.db" -timestamp 2001-01-01T00:00:00Z "$replica"
is "$rc" 4 "before everything: exit code 4"
like "$out" 'What can be restored: 20[0-9T:.-]+Z to 20[0-9T:.-]+Z \(generation [0-9a-f]{16}\)' "and the window"

done_testing
