#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# GET /stream as somebody from outside sees it: what the plain protocol answers to good and bad requests, a database
# built from it by an independent reader (test/live/plain_reader.py) while the primary works, is restarted and loses its
# history, and clients that are many, slow, stuck or cut.
. "${0%/*}/lib.sh"

live=$SOURCE/test/live
golden=$SOURCE/test/golden/live

# ---- the reader itself, on streams that another program sent ----

reads_golden() { # STREAM EXPECTED_SHA256 [OPTION…]: into $T/golden.db
  run python3 "$live/plain_reader.py" "${@:3}" -file "$1" "$T/golden.db"
  [ "$rc" -eq 0 ] && [ "$(sha256sum <"$T/golden.db" | cut -c 1-64)" = "$2" ]
}
note "captured streams"
p=$golden/page1024
reads_golden "$p/stream-scratch.bin" "$(sha256sum <"$p/stream-scratch.expected.db" | cut -c 1-64)"
ok $? "the reader follows a captured stream to its database" || note "$out"
reads_golden "$p/stream-other-generation.bin" "$(cat "$p/stream-other-generation.expected.sha256")"
ok $? "and over it another generation" || note "$out"
head -c 5000 "$p/stream-scratch.bin" >"$T/short"
run python3 "$live/plain_reader.py" -file "$T/short" "$T/golden.db"
is "$rc" 3 "a stream that is cut is no whole one"
{ head -c 60000 "$p/stream-scratch.bin" && printf x && tail -c +60002 "$p/stream-scratch.bin"; } >"$T/flipped"
run python3 "$live/plain_reader.py" -file "$T/flipped" "$T/golden.db"
is "$rc" 1 "nor is one with another byte in a segment"

# ---- a primary ----

db=$T/p.db
python3 "$live/load.py" make "$db" 4096 1
late=$T/late.db
conf() { # ADDR
  cat >"$T/p.yml" <<END
addr: "$1"
socket: $T/p.sock
follow-window: 1MiB
dbs:
  - path: $db
    min-checkpoint-page-count: 50
    checkpoint-interval: 1s
    replicas:
      - path: $T/replica
  - path: $late
    replicas:
      - path: $T/late.replica
END
}
serving() {
  url=$(sed -n 's,.*url=\(https\{0\,1\}://[^ /]*\).*,\1,p' "$T/p.log" | tail -n 1)
  [ -n "$url" ] && curl -sS -m 5 -o "$T/curl.out" "$url/healthz" 2>/dev/null
}
begin() { # starts it (again, at the same address)
  start p replicate -config "$T/p.yml"
  primary=$PID
  wait_for 20 serving
}
conf 127.0.0.1:0
begin
ok $? "it serves" || exit 1
conf "${url#http://}"

position() {
  curl -sS -m 20 -G --data-urlencode "path=$db" "$url/position"
}
status_of() { # QUERY [CURL FLAG…]: sets $code, $type, $body
  local answer
  answer=$(curl -sS -m 5 -D "$T/head" -w '\n%{http_code}' "${@:2}" "$url$1" 2>&1 | tr -d '\0')
  code=${answer##*$'\n'} body=${answer%$'\n'*}
  type=$(tr -d '\r' <"$T/head" | sed -n 's/^[Cc]ontent-[Tt]ype: *//p')
}
refused() { # QUERY STATUS DESCRIPTION [CURL FLAG…]
  status_of "$1" "${@:4}"
  is "$code $type $(printf '%s' "$body" | wc -l) $([ -n "$body" ] && echo text)" \
    "$2 text/plain; charset=utf-8 1 text" "$3: $2 and one line of text"
}

note "requests that are refused"
wait_for 20 says p 'generation'
quoted=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$db")
refused /stream 400 "no path"
refused '/stream?path=' 400 "an empty path"
refused '/stream?path=/no/such.db' 404 "a database that is not replicated"
refused '/stream?path=/etc/passwd' 404 "a file of the system"
refused "/stream?path=$T/../${T##*/}/p.db" 404 "a path that leads to the database by a detour"
refused "/stream?path=$quoted&generation=0123456789abcdef&index=zz" 400 "an index that is no number"
refused "/stream?path=$quoted&generation=0123456789abcdef&index=-1" 400 "a negative index"
refused "/stream?path=$quoted&generation=0123456789abcdef&index=10000000000000000" 400 "an index of 65 bits"
refused "/stream?path=$quoted&generation=0123&index=0" 400 "a generation that is none"
status_of "/stream?path=$quoted" -X POST -d x
like "$code" '^40[05]$' "POST of a plain stream"
refused "/stream?path=$quoted" 405 "DELETE" -X DELETE
refused /other 404 "another path"
refused "/stream?path=$late" 503 "a database that its application has not made yet"
is "$(tr -d '\r' <"$T/head" | grep -ci '^retry-after:')" 1 "with Retry-After"

# ---- what is followed ----

same() { # OUT: is what the primary has, page by page
  python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import wire
d = wire.images_differ(sys.argv[2], sys.argv[3]); print(d or "same"); sys.exit(d is not None)' "$live" "$db" "$1"
}
reader() { # OUT [OPTION…]: sets $out and $rc
  run python3 "$live/plain_reader.py" "${@:2}" "$url" "$db" "$1"
}
at() {
  sed -n 's/^at //p' <<<"$out"
}
work() { # SECONDS SEED: mixed load with VACUUM, schema changes, checkpoints of all modes
  sleep "$1" | python3 "$live/load.py" write "$db" "$T/witness" "$2" 3 >"$T/work.out" 2>&1
  grep -q '^ok' "$T/work.out" || note "$(cat "$T/work.out")"
}

note "followed by the plain protocol"
work 1 1
reader "$T/a.db" -until "$(position)"
is "$rc" 0 "from nothing" || note "$out"
same "$T/a.db" >"$T/same" || note "$(cat "$T/same")"
is "$(cat "$T/same")" same "it is the source, page by page"
like "$out" '^1 snapshots' "from one snapshot"

work 2 2 &
worker=$!
python3 "$live/plain_reader.py" -reconnect -until ffffffffffffffff/0:0 -seconds 3 "$url" "$db" "$T/b.db" >"$T/b.out"
like "$(cat "$T/b.out")" 'wrong: not there after 3|Timeout' "nothing is wrong in what comes while the application works"
wait "$worker"
sql "$db" 'VACUUM; CREATE TABLE extra_late(a); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO extra_late VALUES(1)' >/dev/null
sql "$db" 'UPDATE state SET extras = extras + 1'
until=$(position)
reader "$T/c.db" -until "$until"
is "$rc $(same "$T/c.db")" "0 same" "VACUUM, another schema, a TRUNCATE checkpoint"

small() { # few transactions and no checkpoint, so that the index stays
  local i
  for i in 1 2 3 4 5; do echo "UPDATE state SET seq = seq;"; done | sql "$db"
}
reader "$T/c.db" -until "$(position)"
resume=$(at)
small
reader "$T/c.db" -resume "$resume" -until "$(position)"
is "$rc $(same "$T/c.db")" "0 same" "it goes on where it was" || note "$out"
like "$out" '^0 snapshots' "without a snapshot"

generation=${resume%%/*}
cp "$T/c.db" "$T/d.db"
reader "$T/d.db" -resume "$generation/ffffff" -until "$(position)"
is "$rc $(same "$T/d.db")" "0 same" "an index that is not there yet: answered at once, with a snapshot" || note "$out"
reader "$T/d.db" -resume "0123456789abcdef/1" -until "$(position)"
is "$rc $(same "$T/d.db")" "0 same" "another generation: a snapshot" || note "$out"
like "$out" '^1 snapshots' "of the one that is now"
# Only one of the two is no position.
run curl -sS -m 2 -D "$T/head" -o "$T/body" "$url/stream?path=$quoted&generation=$generation"
like "$(od -An -tx1 -N4 "$T/body" | tr -d ' ')" '^00000001$' "a generation alone is no position: a snapshot comes"
is "$(tr -d '\r' <"$T/head" | sed -n 's/^[Ll]itestream-[Pp]age-[Ss]ize: *//p')" 4096 "the header with the page size"
is "$(grep -ci '^walbrook-stream' "$T/head")" 0 "and none of ours in a plain stream"

note "the primary is restarted"
stop "$primary"
is "$rc" 0 "it stops while it serves"
begin
reader "$T/c.db" -resume "$resume" -until "$(position)"
is "$rc $(same "$T/c.db")" "0 same" "the copy goes on"
stop "$primary"
work 1 3
sql "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
begin
reader "$T/c.db" -resume "$resume" -until "$(position)"
is "$rc $(same "$T/c.db")" "0 same" "its database went on without it: another generation, and the copy is right" || note "$out"
kill -9 "$primary"
wait "$primary" 2>/dev/null
begin
small
reader "$T/e.db" -until "$(position)"
is "$rc $(same "$T/e.db")" "0 same" "after kill -9"

# ---- clients that are many, slow, stuck, cut ----

sockets() {
  ls -l "/proc/$primary/fd" | grep -c socket:
}
back_to() { # N
  [ "$(sockets)" -le "$1" ]
}
clients() {
  python3 "$live/clients.py" "$@"
}

window() { # SIZE: what a slow follower may be behind
  sed -i "s/^follow-window: .*/follow-window: $1/" "$T/p.yml"
  run walbrook reload -socket "$T/p.sock"
}
note "many"
before=$(sockets)
window 64MiB # beside other tests these readers may be slow
work 2 4 &
worker=$!
for ((i = 0; i < 3; i++)); do
  (python3 "$live/plain_reader.py" -until ffffffffffffffff/0:0 -seconds 2 "$url" "$db" "$T/m$i.db" >"$T/m$i.out") &
  readers[i]=$!
done
wait "$worker" "${readers[@]}"
is "$(cat "$T"/m?.out | grep -Ec 'wrong: not there after 2|Timeout')" 3 "three readers at once while the application works"
window 1MiB
is "$(clients many "$url" "$db" "$(position)" 50)" "ok 50" "50 at once"
wait_for 20 back_to "$before"
ok $? "nothing stays open when they have gone" || note "$(sockets), before $before"
is "$(clients cut "$url" "$db" 40 7)" "ok 40" "40 that break off somewhere"
wait_for 20 back_to "$before"
ok $? "nothing stays open of them either" || note "$(sockets), before $before"

note "stuck and slow"
clients stuck "$url" "$db" 40 >"$T/stuck.out" &
PIDS+=("$!") stuck=$!
clients slow "$url" "$db" 8 >"$T/slow.out" &
PIDS+=("$!") slow=$!
wait_for 10 grep -qs open "$T/stuck.out"
# More than any socket buffer and the window hold, in several indexes: until it is let go.
python3 - "$db" "$T/p.log" <<'END'
import os, re, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for turn in range(100):
    for i in range(30):
        db.execute("INSERT OR REPLACE INTO cell VALUES(?, 0, ?)", (1000 + i, os.urandom(60000)))
    for _ in range(10):
        if not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            break
        time.sleep(0.05)
    if re.search('let go.*reason="too slow', open(sys.argv[2]).read()):
        break
db.execute("DELETE FROM cell WHERE id >= 1000")
END
reader "$T/f.db" -until "$(position)"
is "$rc $(same "$T/f.db")" "0 same" "others are served while one reads nothing"
wait_for 40 says p 'let go.*reason="too slow'
ok $? "who reads nothing is let go, and the log says why"
kill "$stuck" 2>/dev/null
wait "$slow" "$stuck" 2>/dev/null
like "$(cat "$T/slow.out")" '^[0-9]+ bytes|closed after' "one byte a second"
spool_kb() {
  du -sk "$T/.p.db-litestream" | cut -f 1
}
small_enough() { # the window, one index and what belongs to them; 18 MB went through
  [ "$(spool_kb)" -lt 12000 ] 2>/dev/null
}
wait_for 20 small_enough
ok $? "nothing is kept for them beyond the window" || note "$(spool_kb) KB"
sql "$db" 'SELECT count(*) FROM cell' >"$T/count"
replica_has "$T/replica" 'SELECT count(*) FROM cell' "$(cat "$T/count")" ||
  wait_for 20 replica_has "$T/replica" 'SELECT count(*) FROM cell' "$(cat "$T/count")"
ok $? "the replica has everything"
stop "$primary"
is "$rc" 0 "and it stops"

done_testing
