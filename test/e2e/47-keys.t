#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Keys of the configuration reach what the daemon does, not only the parser. Each key is tried with two values, and the
# difference is looked at. Keys with a test of their own: exec and shutdown-timeout (32), dir, pattern, recursive (35),
# validation-interval (37), addr and health-lag (38), age (40), socket (52).
. "${0%/*}/lib.sh"

db=
conf() { # NAME TOP DB REPLICA: lines for each level, indented here; a database of its own, made anew
  db=$T/$1.db
  sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
  {
    printf '%s\n' "addr: 127.0.0.1:0" "$2" 'dbs:' "  - path: $db"
    [ -z "$3" ] || sed 's/^/    /' <<<"$3"
    printf '    replicas:\n'
    [[ $4 == *path:* || $4 == *url:* ]] && printf '      - %s\n' "${4%%$'\n'*}" || printf '      - path: %s\n' "$T/$1.r"
    if [[ $4 == *path:* || $4 == *url:* ]]; then sed '1d;s/^/        /' <<<"$4"; else sed 's/^/        /' <<<"$4"; fi
  } | sed '/^ *$/d' >"$T/$1.yml"
}
begin() { # NAME
  start "$1" replicate -config "$T/$1.yml"
  wait_for 20 test -s "$T/$1.log"
  wait_for 20 says "$1" 'snapshot written'
}
metric() { # NAME METRIC: the value of its only sample
  local url
  url=$(grep -o 'http://[^ "]*/metrics' "$T/$1.log" | tail -n 1)
  curl -sS -m 10 "$url" | sed -n "s/^$2 //p"
}
paced() { # SECONDS: commits all 20 ms, so that it is never quiet
  local until_s=$((SECONDS + $1))
  while [ "$SECONDS" -lt "$until_s" ]; do
    echo "INSERT INTO t VALUES(hex(randomblob(2000)));"
    sleep 0.02
  done | sqlite3 -batch -cmd '.timeout 10000' -cmd 'PRAGMA wal_autocheckpoint=0' "$db" >/dev/null
}
full_speed() { # ROWS
  for ((i = 0; i < $1; i++)); do
    echo "INSERT INTO t VALUES(hex(randomblob(2000)));"
  done | sqlite3 -batch -cmd '.timeout 10000' -cmd 'PRAGMA wal_autocheckpoint=0' "$db" >/dev/null
}
objects() { # NAME: of WAL
  find "$T/$1.r" -name '*.wal.lz4' | wc -l
}

note "logging"
conf debug $'logging:\n  level: debug\n  type: json' '' ''
begin debug
sql "$db" 'INSERT INTO t VALUES(2)'
wait_for 10 says debug '"level":"DEBUG"'
ok $? "level: debug shows what info does not"
stop "$PID"
python3 -c 'import json, sys; [json.loads(l) for l in open(sys.argv[1])]' "$T/debug.log"
ok $? "type: json: every line is an object"
conf warn $'logging:\n  level: warn\n  stderr: false' '' 'name: n'
"$WALBROOK" replicate -config "$T/warn.yml" >"$T/warn.out" 2>"$T/warn.err" &
PID=$!
PIDS+=("$PID")
wait_for 20 replica_has "$T/warn.r" 'SELECT count(*) FROM t' 1
rm -r "$T/warn.r"
touch "$T/warn.r"
sql "$db" 'INSERT INTO t VALUES(2)'
wait_for 10 grep -q 'level=ERROR.*replica=n' "$T/warn.out"
ok $? "stderr: false: the log is on standard output; name: of the replica in it"
is "$(grep -c 'level=INFO' "$T/warn.out")$(wc -c <"$T/warn.err")" 00 "level: warn shows no more than that"
kill -9 "$PID"

note "places"
conf places '' "meta-path: $T/elsewhere" "url: file://$T/by%20url"
begin places
stop "$PID"
[ -d "$T/elsewhere/walbrook" ] && [ ! -e "$T/.places.db-litestream" ]
ok $? "meta-path"
[ -d "$T/by%20url/generations" ]
ok $? "url: the place, its characters as they stand"
conf typed '' '' $'type: file\npath: '"$T/typed.r"
sed -i 's/^      - type/      - type/' "$T/typed.yml"
begin typed
stop "$PID"
[ -d "$T/typed.r/generations" ]
ok $? "type and path"

note "checkpoints of a database that is never quiet"
copies='litestream_checkpoint_count{db="[^"]*",mode="PASSIVE"}'
forced='litestream_checkpoint_count{db="[^"]*",mode="RESTART"}'
conf none '' $'min-checkpoint-page-count: 1000000\ncheckpoint-interval: 0\nmax-checkpoint-page-count: 0' ''
begin none
sleep 0.5
for _ in 1 2 3 4 5; do # a writer that is kept from its pace is quiet, and a quiet database is copied
  before=$(metric none "$copies")
  paced 2
  made=$(($(metric none "$copies") - before))
  [ "$made" -ne 0 ] || break
done
is "$made" 0 "min-checkpoint-page-count: 1000000, checkpoint-interval: 0: none"
full_speed 3000
is "$(metric none "$forced")" 0 "max-checkpoint-page-count: 0: none is forced"
stop "$PID"
conf interval '' $'min-checkpoint-page-count: 1000000\ncheckpoint-interval: 500ms\nmax-checkpoint-page-count: 0' ''
begin interval
sleep 0.5
before=$(metric interval "$copies")
paced 2
[ "$(($(metric interval "$copies") - before))" -ge 1 ]
ok $? "checkpoint-interval: 500ms: some"
stop "$PID"
conf least '' $'min-checkpoint-page-count: 5\ncheckpoint-interval: 0\nmax-checkpoint-page-count: 0' ''
begin least
sleep 0.5
before=$(metric least "$copies")
paced 2
[ "$(($(metric least "$copies") - before))" -ge 1 ]
ok $? "min-checkpoint-page-count: 5: some"
stop "$PID"
conf most '' $'max-checkpoint-page-count: 400\ncheckpoint-interval: 0' ''
begin most
full_speed 6000
[ "$(metric most "$forced")" -ge 1 ]
ok $? "max-checkpoint-page-count: 400: some are forced"
stop "$PID"

note "monitor-interval"
looks() { # turns of the loop in 3 s; the fewest of three times, because other things wake it as well
  for _ in 1 2 3; do
    timeout 3 strace -f -qq -e trace=epoll_pwait2,epoll_wait,epoll_pwait -p "$PID" 2>&1 | grep -c epoll
  done | sort -n | head -n 1
}
conf rare '' '' ''
begin rare
sleep 3
rare=$(looks)
stop "$PID"
conf often '' 'monitor-interval: 50ms' ''
begin often
sleep 3
often=$(looks)
stop "$PID"
note "turns in 3 s: $rare by default, $often with 50ms"
[ "$often" -gt $((rare * 4)) ]
ok $? "monitor-interval: 50ms looks more often than 1s"

note "sync-interval"
one_by_one() { # NAME N: each commit is away before the next, or 100 ms have gone by
  local i before k
  for ((i = 0; i < $2; i++)); do
    before=$(objects "$1")
    sql "$db" "INSERT INTO t VALUES($i)"
    for ((k = 0; k < 10 && $(objects "$1") == before; k++)); do sleep 0.01; done
  done
}
conf saved '' '' 'sync-interval: 1h'
begin saved
one_by_one saved 75
n=$(objects saved)
[ "$n" -ge 20 ] && [ "$n" -le 62 ]
ok $? "sync-interval: 1h: what was saved is spent ($n objects for 75 commits), then the next must wait"
kill -9 "$PID"
conf every '' '' 'sync-interval: 0'
begin every
one_by_one every 75
[ "$(objects every)" -ge 70 ]
ok $? "sync-interval: 0: an object for every capture ($(objects every))"
stop "$PID"

note "snapshots and retention"
snapshots() { # NAME: how many there are
  find "$T/$1.r" -name '*.snapshot.lz4' | wc -l
}
more_snapshots() { # NAME N, writing meanwhile
  sql "$db" 'INSERT INTO t VALUES(hex(randomblob(3000))); PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
  [ "$(snapshots "$1")" -gt "$2" ]
}
conf kept '' '' $'snapshot-interval: 300ms\nretention: 0\nsync-interval: 10ms'
begin kept
wait_for 20 more_snapshots kept 4
ok $? "snapshot-interval: 300ms: they come by themselves; retention: 0: none goes"
stop "$PID"
gone() {
  more_snapshots short 0
  says short 'msg=.*(deleted|retention)' || [ "$(find "$T/short.r" -name '00000000.snapshot.lz4' | wc -l)" -eq 0 ]
}
conf short '' '' $'snapshot-interval: 300ms\nretention: 1s\nretention-check-interval: 200ms\nsync-interval: 10ms'
begin short
wait_for 30 gone
ok $? "retention: 1s, looked at each retention-check-interval of 200ms: the first snapshot goes"
stop "$PID"
restores_to "$T/short.r" "$db"
ok $? "what is left restores"

done_testing
