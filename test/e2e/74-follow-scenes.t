#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Scenes from the life of a follower that the torture cannot play: another history under the same address, a full disk,
# somebody who writes where only walbrook should, two that follow the same, a page size that changes, and readers with other
# versions of SQLite (WALBROOK_LIVE_READERS).
. "${0%/*}/lib.sh"

live=$SOURCE/test/live
db=$T/p.db f=$T/f.db

primary_conf() { # ADDR
  printf 'addr: "%s"\nsocket: %s\ndbs:\n  - path: %s\n    replicas:\n      - path: %s\n' "$1" "$T/p.sock" "$db" "$T/replica" \
    >"$T/p.yml"
}
serving() {
  url=$(sed -n 's,.*url=\(http://[^ /]*\).*,\1,p' "$T/p.log" | tail -n 1)
  [ -n "$url" ] && [ "$(curl -sS -m 5 -o "$T/position" -w '%{http_code}' -G --data-urlencode "path=$db" "$url/position" 2>/dev/null)" = 200 ]
}
begin() {
  start p replicate -config "$T/p.yml"
  primary=$PID
  wait_for 20 serving || exit 1
}
follower_conf() { # DATABASE [LINE…] (in upstream)
  {
    printf 'socket: %s\ndbs:\n  - path: %s\n    upstream:\n      url: %s\n      path: %s\n' "$T/f.sock" "$1" "$url" "$db"
    [ $# -lt 2 ] || printf '      %s\n' "${@:2}"
  } >"$T/f.yml"
}
follow() { # DATABASE [LINE…]
  follower_conf "$@"
  start f replicate -config "$T/f.yml"
  follower=$PID
}
same() { # [DATABASE]
  [ -e "${1:-$f}" ] && python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import wire
d = wire.images_differ(sys.argv[2], sys.argv[3]); print(d or "same"); sys.exit(d is not None)' "$live" "$db" "${1:-$f}" \
    >"$T/same.out" 2>&1
}
becomes_same() { # DESCRIPTION [DATABASE]
  wait_for 40 same "${2:-$f}"
  ok $? "$1" || note "$(cat "$T/same.out")"
}
said() { # ERE: since the mark
  tail -n +$((mark + 1)) "$T/f.log" | grep -Eq -- "$1"
}
set_mark() {
  mark=$(wc -l <"$T/f.log")
}
work() { # SECONDS SEED
  sleep "$1" | python3 "$live/load.py" write "$db" "$T/witness" "$2" 3 >"$T/work.out" 2>&1
}

python3 "$live/load.py" make "$db" 4096 1
primary_conf 127.0.0.1:0
begin
primary_conf "${url#http://}"
follow "$f"
becomes_same "a follower, and it is the same"

note "readers"
readers=("$WALBROOK_BUILD/test/livereader")
IFS=: read -r -a more <<<"${WALBROOK_LIVE_READERS:-}"
i=0
for r in "${readers[@]}" ${more[@]+"${more[@]}"}; do
  for mode in 'rw 0' 'ro 268435456'; do
    i=$((i + 1))
    # shellcheck disable=SC2086  # words
    "$r" "$f" "$T/seen.$i" $mode 2000 100 20000 "$i" >"$T/reader.$i.out" 2>&1 \
      < <(until [ -e "$T/over" ]; do sleep 0.1; done) &
    PIDS+=("$!") reader_pids[i]=$!
  done
done
work 3 1

note "somebody writes to the follower"
sql "$f" 'CREATE TABLE intruder(a)' >"$T/intruder.out" 2>&1 &
intruder=$!
sleep 1
kill "$intruder" 2>/dev/null
wait "$intruder" 2>/dev/null
out=$(sqlite3 -batch "$f" 'CREATE TABLE intruder(a)' 2>&1)
like "$out" 'locked' "he is refused while it is there"
becomes_same "and has changed nothing"
kill -9 "$follower"
wait "$follower" 2>/dev/null
sql "$f" 'CREATE TABLE intruder(a); INSERT INTO intruder VALUES(zeroblob(100000))'
set_mark
follow "$f"
becomes_same "what he wrote while it was away is gone"
said 'WARN|pages that differ'
ok $? "and it is said" || note "$(tail -n +$((mark + 1)) "$T/f.log")"

note "the primary's history ends"
stop "$primary"
work 1 2
sql "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
begin
becomes_same "a new generation of the same line: it goes on"
kill -STOP "$follower"
stop "$primary"
rm -rf "$T/.p.db-litestream"
before=$(sql "$f" 'SELECT seq FROM state')
work 1 3
begin
set_mark
kill -CONT "$follower"
wait_for 30 said 'lineage'
ok $? "another line under the same address is refused" || note "$(tail -n 5 "$T/f.log")"
is "$(sql "$f" 'SELECT seq FROM state')" "$before" "what is here stays as it is, and readable"
like "$(tail -n +$((mark + 1)) "$T/f.log" | grep lineage)" 'any' "the log says how to follow it all the same"
stop "$follower"
is "$rc" 0 "it stops"
follow "$f" 'lineage: any'
becomes_same "with lineage: any it goes over to it"
stop "$follower"
follow "$f"
work 0.5 4
becomes_same "and that is its line from then on"

touch "$T/over"
for i in "${!reader_pids[@]}"; do
  wait "${reader_pids[i]}"
  like "$(cat "$T/reader.$i.out")" '^ok [1-9]' "reader $i: $(cut -c 1-80 "$T/reader.$i.out")"
done
cat "$T"/seen.* | sort -u >"$T/seen"
is "$(sort -u "$T/witness" "$T/seen" | comm -13 <(printf '0 0\n' | cat - "$T/witness" | sort -u) - | wc -l)" 0 \
  "and saw only states that were committed"

note "its database is taken away"
set_mark
stop "$follower"
rm -f "$f" "$f-wal" "$f-shm"
follow "$f"
becomes_same "it comes back"
rm -rf "$T/.f.db-litestream"
set_mark
kill -9 "$follower"
wait "$follower" 2>/dev/null
follow "$f"
sleep 1
same || said 'adopt'
ok $? "without its metadata: it is followed anew, or it is said how" || note "$(tail -n +$((mark + 1)) "$T/f.log")"
stop "$follower"

note "a disk that is full"
if small_disk 4m; then
  g=$T/disk/g.db
  follow "$g"
  becomes_same "a follower on a small disk" "$g"
  sqlite3 "$db" 'CREATE TABLE large(a)' && sqlite3 "$db" 'UPDATE state SET extras = extras'
  set_mark
  python3 - "$db" <<'END'
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for i in range(60):
    db.execute("INSERT INTO large VALUES(?)", (os.urandom(100000),))
END
  full() {
    said 'space|full|ENOSPC'
  }
  wait_for 40 full
  ok $? "it says so" || note "$(tail -n 5 "$T/f.log")"
  is "$(sqlite3 "$g" 'PRAGMA integrity_check')" ok "what is there is whole, and readable"
  kill -0 "$follower"
  ok $? "and it goes on"
  sqlite3 "$db" 'DROP TABLE large; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
  mount -o remount,size=64m "$T/disk"
  becomes_same "with room again it catches up" "$g"
  stop "$follower"
  is "$rc" 0 "and stops"
else
  skipped 6 "no disk can be mounted here"
fi

note "another page size"
follow "$f" 'adopt: true'
becomes_same "a follower"
stop "$primary"
python3 - "$db" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in ("PRAGMA journal_mode=DELETE", "PRAGMA page_size=1024", "VACUUM", "PRAGMA journal_mode=WAL", "UPDATE state SET id = id"):
    db.execute(sql).fetchall()
END
begin
becomes_same "is followed into a new file"
is "$(sql "$f" 'PRAGMA page_size; PRAGMA journal_mode; PRAGMA integrity_check' | tr '\n' ' ')" "1024 wal ok " \
  "which is whole"
stop "$follower"
is "$rc" 0 "the follower stops"
stop "$primary"
is "$rc" 0 "and the primary"

done_testing
