#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a primary keeps for who follows it, and who falls out: after ten minutes of absence (the daemon's time runs 100
# times as fast, test/tools/fasttime.c), at half of the spool's quota, and when the quota makes a gap. Whoever fell out
# is told why, and is right again when it has come back, without everything being sent.
. "${0%/*}/lib.sh"

FAST=100
live=$SOURCE/test/live
serve() { python3 "$SOURCE/test/e2e/serve.py" "$@"; }
make_db() { # NAME: more pages than are sent without asking for hashes
  mkdir "$T/$1"
  sql "$T/$1/p.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<600) INSERT INTO t SELECT i, randomblob(3000) FROM c' >/dev/null
}
primary() { # NAME [LINE…] (of the database): a daemon of its own; sets $PID and url_NAME
  {
    printf 'addr: 127.0.0.1:0\nsocket: %s\nshutdown-timeout: 1s\ndbs:\n  - path: %s\n' "$T/$1/p.sock" "$T/$1/p.db"
    [ $# -lt 2 ] || printf '    %s\n' "${@:2}"
  } >"$T/$1/p.yml"
  start "$1-p" replicate -config "$T/$1/p.yml"
  wait_for 20 serving "$1" || exit 1
  printf -v "url_$1" %s "$url"
}
serving() { # NAME
  url=$(sed -n 's,.*url=\(http://[^ /]*\).*,\1,p' "$T/$1-p.log" 2>/dev/null | tail -n 1)
  [ -n "$url" ] && [ "$(curl -sS -m 5 -o "$T/position" -w '%{http_code}' "$url/position?path=$T/$1/p.db" 2>/dev/null)" = 200 ]
}
follow() { # NAME: sets $PID
  local url=url_$1
  start "$1-f" follow -socket "$T/$1/f.sock" "${!url}$T/$1/p.db" "$T/$1/f.db"
}
dump_of() {
  sqlite3 -readonly -batch "$1" .dump 2>/dev/null | sha256sum
}
same() { # NAME: the follower shows what the primary has
  [ -e "$T/$1/f.db" ] && [ "$(dump_of "$T/$1/p.db")" = "$(dump_of "$T/$1/f.db")" ]
}
becomes_same() { # NAME DESCRIPTION
  wait_for 40 same "$1"
  ok $? "$2"
}
add() { # NAME N [BYTES]
  local i
  for ((i = 0; i < $2; i++)); do
    echo "INSERT INTO t(b) VALUES(randomblob(${3:-3000}));"
  done | sql "$T/$1/p.db"
}
spooled() { # NAME: how many segments are kept
  find "$T/$1/.p.db-litestream/walbrook/spool" -name '*.lz4' 2>/dev/null | wc -l
}
nothing_kept() {
  [ "$(spooled "$1")" = 0 ]
}
# The last content was by pages that differ: much less than the file went over the wire.
little_came() { # NAME
  local line pages received
  line=$(grep 'the copy is complete' "$T/$1-f.log" | tail -n 1)
  pages=$(sed -n 's/.* pages=\([0-9]*\).*/\1/p' <<<"$line") received=$(sed -n 's/.* received=\([0-9]*\).*/\1/p' <<<"$line")
  [ -n "$received" ] && [ "$received" -lt $((pages * 4096 / 2)) ] || {
    note "$line"
    return 1
  }
}
copies() { # NAME
  grep -c 'the copy is complete' "$T/$1-f.log"
}

# ---- long away, 1: it leaves, and then time goes by while the rest of this test runs ----

make_db away
case $WALBROOK_BUILD in
*-asan | *-ubsan | *-tsan) fast= ;; # a sanitizer and a preloaded library do not go together
*) fast=$WALBROOK_BUILD/test/libfasttime.so ;;
esac
if [ -n "$fast" ]; then
  FASTTIME=$FAST LD_PRELOAD=$fast primary away
  follow away
  follower=$PID
  becomes_same away "a follower of a primary whose time is fast"
  stop "$follower"
  place_away=$(serve follow "$url_away/stream?path=$T/away/p.db&txn=1" "$T/away/copy.db" sum)
  add away 3
  like "$(serve types "$url_away/stream?path=$T/away/p.db&txn=1&$place_away" 3)" '^20 16 2' "who comes back soon goes on"
  place_end=$(serve follow "$url_away/stream?path=$T/away/p.db&txn=1" "$T/away/copy.db" sum)
  [ "$(spooled away)" -gt 0 ]
  ok $? "what it needs is kept while nobody is there"
fi

# ---- at half of the quota nothing is kept for followers ----

fill() { # COMMITS: of half a megabyte, over the same pages; each is captured before the next
  local i
  for ((i = 0; i < $1; i++)); do
    sql "$T/quota/p.db" "UPDATE t SET b = randomblob(3000) WHERE a % 4 = $((i % 4))"
    curl -sSf -m 20 -o "$T/position" -G --data-urlencode "path=$T/quota/p.db" "$url/position" || return
  done
}
kept_is_little() { # a quarter of the quota, and what is of the current index
  [ "$(du -sb "$T/quota/.p.db-litestream/walbrook/spool" | cut -f 1)" -lt 3145728 ]
}

note "the quota"
make_db quota
mkfifo "$T/hold"
primary quota 'spool-quota: 8MiB' 'replicas: [{ path: '"$T/quota/r"', sync-interval: 20ms }]'
follow quota
follower=$PID
becomes_same quota "a follower"
# A transaction that reads keeps the WAL from beginning anew: all is of the current index.
sqlite3 -batch "$T/quota/p.db" 'BEGIN; SELECT count(*) FROM t' '.shell echo there; cat' <"$T/hold" >"$T/hold.out" &
reader=$!
PIDS+=("$reader")
exec 7>"$T/hold"
wait_for 10 test -s "$T/hold.out"
kill -STOP "$follower"
for ((i = 0; i < 100; i++)); do # more than the buffers of the sockets hold
  says quota-p 'let go' && break
  fill 1 || break
done
kill -CONT "$follower"
like "$(grep 'let go' "$T/quota-p.log")" 'reason="the spool is at half of its quota: what comes next is not kept' "who reads nothing is let go, and why is said"
exec 7>&-
reap "$reader" 10
sql "$T/quota/p.db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
fill 1
becomes_same quota "it comes back when the WAL is begun anew"
stop "$follower"

note "the window: a quarter of the quota, when the quota is small"
place=$(serve follow "$url/stream?path=$T/quota/p.db&txn=1" "$T/quota/copy.db" sum)
for ((i = 0; i < 4; i++)); do
  fill 2
  sql "$T/quota/p.db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
done
fill 1
wait_for 10 kept_is_little
ok $? "that is not more"
[ "$(spooled quota)" -gt 0 ]
ok $? "but something is kept for who is away"
like "$(serve types "$url/stream?path=$T/quota/p.db&txn=1&$place" 5)" '^20 (17 )*21' "who needs more gets content"
follow quota
follower=$PID
becomes_same quota "or what differs of it"
add quota 2
becomes_same quota "and then what is new"
stop "$follower"

note "nothing is captured"
make_db gap
primary gap 'spool-quota: 1MiB' 'replicas: [{ path: '"$T/gap/r"', sync-interval: 20ms }]'
follow gap
follower=$PID
becomes_same gap "a follower"
wait_for 20 says gap-p 'snapshot written'
mv "$T/gap/r" "$T/gap/r.away" && touch "$T/gap/r" # it cannot be reached
for ((i = 0; i < 100; i++)); do
  says gap-p 'state=gap' && break
  add gap 1 200000
  sleep 0.05
done
wait_for 20 says gap-p 'let go.*reason="commits are not captured at present'
ok $? "who follows a primary whose spool is full is told that commits are not captured"
add gap 1
upstream_state() {
  "$WALBROOK" status -socket "$T/gap/f.sock" -json >"$T/status.json" 2>/dev/null
  sqlite3 :memory: "SELECT json_extract(readfile('$T/status.json'), '\$.databases[0].upstream.state')" 2>/dev/null
}
is "$(upstream_state)" connecting "and does not say that it has everything"
like "$(curl -sS -m 5 -w '%{http_code}' "$url/stream?path=$T/gap/p.db")" '503$' "nobody is let in"
stop "$follower"

# ---- long away, 2 ----

if [ -n "$fast" ]; then
  note "ten minutes later"
  wait_for 20 nothing_kept away
  ok $? "what was kept is gone, although nothing happens"
  url=$url_away
  like "$(serve types "$url/stream?path=$T/away/p.db&txn=1&$place_end" 2)" '^20 17' "who had everything goes on all the same"
  add away 2
  sql "$T/away/p.db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
  add away 1
  like "$(serve types "$url/stream?path=$T/away/p.db&txn=1&$place_away" 30)" '^20 (17 )*21' "who comes back then gets content"
  follow away
  follower=$PID
  becomes_same away "or what differs of it"
  little_came away
  ok $? "which is little"
  add away 2
  becomes_same away "and then what is new"
  stop "$follower"
else
  skipped 10 "a sanitizer and a preloaded library do not go together"
fi
done_testing
