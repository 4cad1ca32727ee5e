#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A replica written by us restores with nothing but lz4, cat and sqlite3: the recipe is taken out of docs/formats.md
# and run as it stands there. Also: every object is a plain LZ4 frame with the golden header, also a segment of one
# frame; and nothing but objects of the layout lies in a replica.
. "${0%/*}/lib.sh"

recipe=$T/by-hand.sh
sed -n '/^```sh by-hand$/,/^```$/p' "$SOURCE/docs/formats.md" | sed '1d;$d' >"$recipe"
grep -q "lz4 -dcq" "$recipe"
ok $? "docs/formats.md has the recipe"

objects() {
  find "$1" -name '*.lz4' -type f
}

# A segment with one WAL frame, with or without the WAL header before it.
has_one_frame_segment() { # REPLICA PAGE_SIZE
  local f n
  for f in $(find "$1" -name '*.wal.lz4'); do
    n=$(lz4 -dcq "$f" | wc -c)
    [ "$n" -ne $((24 + $2)) ] && [ "$n" -ne $((32 + 24 + $2)) ] || return 0
  done
  return 1
}

for page_size in 512 4096 65536; do
  db=$T/$page_size.db replica=$T/$page_size.replica
  sql "$db" "PRAGMA page_size=$page_size; PRAGMA journal_mode=wal;
    CREATE TABLE t(id INTEGER PRIMARY KEY, body); INSERT INTO t VALUES(0, 'first');" >/dev/null
  cat >"$T/$page_size.yml" <<YML
dbs:
  - path: $db
    min-checkpoint-page-count: 10
    max-checkpoint-page-count: 50
    replicas:
      - path: $replica
        sync-interval: 0
YML
  start "$page_size" replicate -config "$T/$page_size.yml"
  pid=$PID
  wait_for 20 replica_has "$replica" 'SELECT count(*) FROM t' 1
  # Several WAL indexes: bursts, with pauses in which the WAL is copied and may begin anew.
  for burst in 1 2 3 4 5; do
    for i in $(seq 1 8); do
      echo "INSERT INTO t(body) VALUES(hex(randomblob(2000)));"
    done | sql "$db"
    sleep 0.6
  done
  sql "$db" "UPDATE t SET body = 'FIRST' WHERE id = 0;"
  wait_for 20 replica_has "$replica" 'SELECT body FROM t WHERE id = 0' FIRST
  has_one_frame_segment "$replica" "$page_size"
  ok $? "page size $page_size: a segment of one frame is there"
  stop "$pid"
  is "$rc" 0 "page size $page_size: stopped with everything shipped"

  bad=$(for f in $(objects "$replica"); do
    [ "$(od -An -tx1 -N7 "$f" | tr -d ' \n')" = 04224d186470b9 ] || echo "$f"
  done)
  is "$bad" "" "page size $page_size: every object begins 04 22 4d 18 64 70 b9"
  # shellcheck disable=SC2046
  lz4 -tqm $(objects "$replica")
  ok $? "page size $page_size: the reference decoder finds every checksum right"
  stray=$(cd "$replica" && find . -type f | grep -Ev \
    '^\./generations/[0-9a-f]{16}/(snapshots/[0-9a-f]{8}\.snapshot\.lz4|wal/[0-9a-f]{8}_[0-9a-f]{8}\.wal\.lz4|index/[0-9a-f]{8}\.index)$')
  is "$stray" "" "page size $page_size: nothing else lies in the replica"

  n=$(ls "$replica"/generations/*/wal | cut -d_ -f1 | sort -u | wc -l)
  [ "$n" -gt 1 ]
  ok $? "page size $page_size: the WAL began anew in between ($n indexes)"
  sh "$recipe" "$replica" "$T/$page_size.hand" >"$T/$page_size.hand.log" 2>&1
  is "$(sqlite3 "$T/$page_size.hand" 'PRAGMA integrity_check; PRAGMA page_size; SELECT count(*) FROM t' | tr '\n' ' ')" \
    "ok $page_size 41 " "page size $page_size: restored by hand"
done

"$WALBROOK" restore -o "$T/ours" "$T/4096.replica" >"$T/restore.log" 2>&1
is "$(sha256sum <"$T/4096.hand")" "$(sha256sum <"$T/ours")" "by hand and by walbrook: the same bytes"
is "$(sqlite3 "$T/4096.hand" .dump | sha256sum)" "$(sql "$T/4096.db" .dump | sha256sum)" "and the content of the source"

done_testing
