#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts/demo.sh WALBROOK: the main job, end to end, for a person to read. In a directory of its own that goes away:
#
#   1. a real sqlite3 makes a database; walbrook replicates it; a sqlite3 process writes to it, commit by commit
#   2. both are killed with SIGKILL in the middle of it
#   3. the replica is restored and compared: sound, an unbroken beginning of what was written, and how far it came
#   4. both go on where they were; after a clean stop the restored copy must equal the source, row by row
#   5. a follower keeps a live copy that sqlite3 reads while it changes; what was written is read there; it is promoted
#
# Exit status 1 when a comparison fails.
set -u
cd "$(dirname "$0")/.."
WALBROOK=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
dir=$(mktemp -d "${TMPDIR:-/tmp}/walbrook-demo.XXXXXX")
pids=()

at_end() {
  local status=$?
  for pid in ${pids[@]+"${pids[@]}"}; do
    kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  done
  rm -rf "$dir"
  exit "$status"
} 2>/dev/null
trap at_end EXIT
trap 'exit 130' INT TERM
cd "$dir" || exit 1

bold='' plain=''
if [ -t 1 ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s\n' "$*"; }
show() { printf '%s  $ %s%s\n' "$bold" "$*" "$plain"; }
fail() {
  printf '\nFAILED: %s\n' "$*"
  [ ! -s walbrook.log ] || tail -n 15 walbrook.log
  exit 1
}
wait_for() { # SECONDS WHAT COMMAND…
  local until_s=$((SECONDS + $1)) what=$2
  shift 2
  while ! "$@"; do
    [ "$SECONDS" -lt "$until_s" ] || fail "waited in vain: $what"
    sleep 0.05
  done
}
# Looks at a copy: opening the files themselves while nobody has them open would tidy the WAL away.
rows_of_copy() {
  mkdir -p look && cp app.db app.db-wal look/ && rows look/app.db
}
rows() { sqlite3 -batch -cmd '.timeout 5000' "$1" 'SELECT count(*) FROM orders' 2>/dev/null; }
has_rows() { [ "$(rows app.db)" -ge "$1" ]; }
has_segments() { [ "$(find backup -name '*.wal.lz4' 2>/dev/null | wc -l)" -ge "$1" ]; }

replicate() {
  show 'walbrook replicate app.db file://$PWD/backup &'
  "$WALBROOK" replicate app.db "file://$PWD/backup" 2>>walbrook.log &
  daemon=$!
  pids+=("$daemon")
}

# The application: one sqlite3 process that commits an order about every 30 ms and never stops by itself.
application() {
  show "sqlite3 app.db          # an application that commits an order every 30 ms"
  {
    echo '.timeout 5000'
    for ((i = 0; i < 20000; i++)); do
      echo "INSERT INTO orders(item, note) VALUES('item ' || (abs(random()) % 100), hex(randomblob(300)));"
      sleep 0.03
    done
  } 2>/dev/null | sqlite3 -batch app.db 2>/dev/null &
  writer=$!
  feeder=$(jobs -p %% | head -n 1)
  pids+=("$writer" "$feeder")
}

hard_kill() {
  kill -9 "$@" 2>/dev/null
  wait "$@" 2>/dev/null
}

echo "walbrook copies every committed transaction of a SQLite database to other places while the application runs,"
echo "and brings the database back from there. Here is that job, with the power cord pulled in the middle."

say "1. A database, and an application that writes to it. walbrook runs beside it; neither knows of the other."
show "sqlite3 app.db 'PRAGMA journal_mode=wal; CREATE TABLE orders …'"
sqlite3 -batch app.db "PRAGMA journal_mode=wal;
  CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT, note TEXT);" >/dev/null || exit 1
replicate
application
wait_for 20 "50 orders" has_rows 50
wait_for 20 "the first segments in the backup" has_segments 2

say "2. In the middle of it everything is killed at once, with no chance to clean up."
show "kill -9 $daemon $writer     # walbrook and the application"
hard_kill "$daemon" "$writer" "$feeder"
printf '    the backup holds %s files, %s in all\n' "$(find backup -type f | wc -l)" "$(du -sh backup | cut -f 1)"

say "3. The database comes back from the backup alone."
show 'walbrook restore -o restored.db file://$PWD/backup'
"$WALBROOK" restore -o restored.db "file://$PWD/backup" 2>>walbrook.log || fail "restore"
show "sqlite3 restored.db 'PRAGMA integrity_check'"
check=$(sqlite3 -batch restored.db 'PRAGMA integrity_check')
echo "    $check"
[ "$check" = ok ] || fail "the restored database is not sound"
before=$(rows_of_copy) back=$(rows restored.db)
echo "    committed when it was killed: $before orders; restored: $back."
if [ "$back" -lt "$before" ]; then
  echo "    Missing: the newest $((before - back)), committed in the moment before the kill."
fi
[ "$back" -gt 0 ] && [ "$back" -le "$before" ] || fail "that is no earlier state of the database"
# The restored rows must be the first rows of the source, without a hole and without a change.
if ! cmp -s <(sqlite3 -batch look/app.db "SELECT * FROM orders WHERE id <= $back ORDER BY id") \
  <(sqlite3 -batch restored.db 'SELECT * FROM orders ORDER BY id'); then
  fail "the restored orders are not the first $back orders"
fi
echo "    They are the first $back orders of the source, every byte of them."

say "4. Both start again and go on where they were; this time walbrook is asked to stop, and finishes its work first."
replicate
application
more=$((before + 50))
wait_for 20 "50 more orders" has_rows "$more"
# The feeder ends, so sqlite3 comes to the end of its input: an application that stops as it should.
hard_kill "$feeder"
wait "$writer" 2>/dev/null
show "kill $daemon           # SIGTERM"
kill "$daemon"
wait "$daemon" || fail "walbrook did not stop cleanly"
show 'walbrook restore -o again.db file://$PWD/backup'
"$WALBROOK" restore -o again.db "file://$PWD/backup" 2>>walbrook.log || fail "restore"
show "sqlite3 app.db .dump | sha256sum; sqlite3 again.db .dump | sha256sum"
source_sum=$(sqlite3 -batch app.db .dump | sha256sum | cut -d ' ' -f 1)
copy_sum=$(sqlite3 -batch again.db .dump | sha256sum | cut -d ' ' -f 1)
printf '    %s  app.db     (%s orders)\n    %s  again.db   (%s orders)\n' "$source_sum" "$(rows app.db)" "$copy_sum" \
  "$(rows again.db)"
[ "$source_sum" = "$copy_sum" ] || fail "the copy differs from the source"
generations=$(ls backup/generations | wc -l)
[ "$generations" -eq 1 ] || fail "a new generation was begun although nothing was lost"
echo "    Equal. The kill cost no new full copy: the second start continued the history of the first."

say "5. A second machine (here a second directory) keeps a live copy that anybody reads with SQLite while it changes."
show 'walbrook replicate -addr 127.0.0.1:9090 app.db file://$PWD/backup &    # the primary; here any free port'
"$WALBROOK" replicate -addr 127.0.0.1:0 -socket "$dir/one.sock" app.db "file://$PWD/backup" 2>>serving.log &
daemon=$!
pids+=("$daemon")
wait_for 20 "the primary serves" grep -q 'serving metrics on' serving.log
url=$(sed -n 's,.*url=\(http://[^/]*\)/.*,\1,p' serving.log | tail -n 1)
mkdir far
show 'walbrook follow http://127.0.0.1:9090 copy.db &                         # the follower'
"$WALBROOK" follow -socket "$dir/two.sock" "$url$dir/app.db" far/copy.db 2>>walbrook.log &
follower=$!
pids+=("$follower")
is_there() { [ "$(rows far/copy.db)" = "$(rows app.db)" ]; }
wait_for 20 "the copy" is_there
echo "    the copy has all $(rows far/copy.db) orders. Now 20 times: write there, read here what was written."
show 'sqlite3 app.db INSERT …; walbrook wait copy.db $(walbrook position app.db); sqlite3 copy.db SELECT …'
begun=$(date +%s%N)
for ((i = 1; i <= 20; i++)); do
  sqlite3 -batch -cmd '.timeout 5000' app.db "INSERT INTO orders(item, note) VALUES('live', $i)"
  token=$("$WALBROOK" position -socket "$dir/one.sock" app.db 2>>walbrook.log) &&
    "$WALBROOK" wait -socket "$dir/two.sock" far/copy.db "$token" 2>>walbrook.log || fail "waiting for what was written"
  [ "$(sqlite3 -batch far/copy.db "SELECT count(*) FROM orders WHERE item = 'live'")" = "$i" ] ||
    fail "the copy does not have what was written"
done
took=$(((($(date +%s%N) - begun) / 20 + 500000) / 1000000))
echo "    Each time it was there; $took ms a round, with the five programs that each of them starts."
show "kill -9 $daemon; walbrook promote copy.db"
hard_kill "$daemon"
"$WALBROOK" promote -socket "$dir/two.sock" far/copy.db >/dev/null 2>>walbrook.log || fail "promote"
sqlite3 -batch -cmd '.timeout 5000' far/copy.db "INSERT INTO orders(item) VALUES('after')" || fail "writing after promotion"
echo "    The copy is the primary now, and takes orders: $(rows far/copy.db) of them."
kill "$follower"
wait "$follower" || fail "the follower did not stop cleanly"

say "All of it worked. Everything made here is removed again."
