#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# position and wait on a primary, over the control socket: the token is behind every commit, and who waits is woken
# by the commit that reaches it.
. "${0%/*}/lib.sh"

db=$T/app.db
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
cat >"$T/walbrook.yml" <<E
socket: $T/control.sock
dbs:
  - path: $db
    replicas: [ { path: $T/r, sync-interval: 1h } ]
  - path: $T/later.db
    replicas: [ { path: $T/later.r } ]
E
ask() { # COMMAND ARGUMENT…
  run walbrook "$1" -config "$T/walbrook.yml" "${@:2}"
}
answers() {
  "$WALBROOK" status -config "$T/walbrook.yml" >/dev/null 2>&1 || [ $? -eq 1 ]
}
key() { # POSITION: sorts as text like the position
  local at=${1#*/}
  printf '%s:%020d\n' "${at%:*}" "${at##*:}"
}

ask position "$db"
is "$rc" 4 "no daemon: exit status 4"
start d replicate -config "$T/walbrook.yml"
daemon=$PID
wait_for 10 answers
ask position "$db"
is "$rc" 0 "a position"
like "$out" '^[0-9a-f]{16}/[0-9a-f]{8}:[0-9]+$' "and nothing else"
first=$out

# One connection that stays, so that its end does not change the WAL.
coproc app { sqlite3 -batch "$db"; }
PIDS+=("$app_PID")
bad=0 before=
for ((i = 0; i < 30; i++)); do
  printf 'INSERT INTO t VALUES(%d);\n.print done\n' "$i" >&"${app[1]}"
  read -r -t 20 <&"${app[0]}" || bad=$((bad + 1))
  ask position "$db"
  now=$(key "$out")
  [ "$rc" -eq 0 ] && [[ $now > $before ]] || bad=$((bad + 1))
  before=$now
done
is "$bad" 0 "30 commits: each position lies behind the one before"
last=$out
ask wait "$db" "$first"
is "$rc$out" 0 "what is behind us is reached"
ask wait "$db" "$last"
is "$rc$out" 0 "so is what is here"
next=${last%:*}:$((${last##*:} + 1))
ask wait -timeout 50ms "$db" "$next"
is "$rc" 10 "not in time: exit status 10"
like "$out" "is at $last, not yet at $next" "it says how far it is"
"$WALBROOK" wait -config "$T/walbrook.yml" -timeout 1m "$db" "$next" >"$T/wait.out" 2>&1 &
waits=$!
PIDS+=("$waits")
sleep 0.2
! ended "$waits"
ok $? "who waits waits"
printf 'INSERT INTO t VALUES(100);\n' >&"${app[1]}"
reap "$waits" 20
is "$rc" 0 "and is woken by the commit"
printf '.quit\n' >&"${app[1]}"

note "what cannot be"
ask wait "$db" 0123456789abcdef/00000000:0
is "$rc" 1 "another generation: exit status 1"
like "$out" 'another generation' "and why"
ask wait "$db" 7
is "$rc" 2 "not a position"
like "$out" 'GENERATION/INDEX:OFFSET' "and what one looks like"
ask wait "$db"
is "$rc" 2 "no position"
ask position
is "$rc" 2 "no database"
ask position -timeout 0s "$db"
is "$rc" 2 "no time"
ask position "$T/unknown.db"
is "$rc" 4 "a database that it does not know"
ask position "$T/later.db"
is "$rc" 4 "one that is not there yet"
like "$out" 'later.db is waiting' "and its state"
ask position -json "$db"
is "$(sqlite3 :memory: "SELECT json_extract('$out', '\$.path') = '$db', json_extract('$out', '\$.position') LIKE '%/%:%'")" \
  '1|1' "JSON of a position"
ask wait -json -timeout 50ms "$db" "${last%/*}/0000ffff:32"
is "$rc" 10 "JSON, not in time"
like "$out" '"reached": false' "and it says so"

note "a stop while somebody waits"
"$WALBROOK" wait -config "$T/walbrook.yml" -timeout 1m "$db" "${last%/*}/0000ffff:32" >"$T/wait.out" 2>&1 &
waits=$!
PIDS+=("$waits")
sleep 0.2
stop "$daemon"
is "$rc" 0 "the daemon ends"
reap "$waits" 20
is "$rc" 7 "who waits is told: exit status 7"
like "$(cat "$T/wait.out")" 'the daemon was stopped|ended before its answer' "and why"
done_testing
