#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# verify: replicas that Litestream 0.3.13 wrote are sound, each damage that can be noticed is found, and a replica of
# ours is judged right while it is written, afterwards, and when something of it is lost. (Random damages by the
# thousand: test/unit/test_verify.c.)
. "${0%/*}/lib.sh"

golden=$SOURCE/test/golden/v03

# Copies a case to $T/NAME and gives the files their times.
copy_case() { # DIRECTORY NAME
  local f t
  rm -rf "${T:?}/$2"
  mkdir "$T/$2"
  cp -r "$1/replica" "$T/$2/replica"
  chmod -R u+w "$T/$2"
  while IFS=$'\t' read -r f t; do
    touch -d "$t" "$T/$2/$f"
  done <"$1/mtimes.tsv"
}

note "sound replicas"
for c in page4096-basic page512 page65536 two-generations snapshots point-in-time snapshot-4mib header-only-segment \
  vacuum utf16 split-transaction broken/good; do
  copy_case "$golden/$c" case
  run walbrook verify "$T/case/replica"
  is "$rc $(printf '%s\n' "$out" | grep -o '^sound: 0 damage, 0 exactness, 0 remarks')" \
    "0 sound: 0 damage, 0 exactness, 0 remarks" "no false alarm: $c" || note "$out"
done

note "damaged replicas"
g=generations/7fb8b2af171de49f
second=$g/wal/00000004_00001038.wal.lz4 last=$g/wal/00000007_00005098.wal.lz4 newest=$g/snapshots/00000003.snapshot.lz4

flip() { # FILE BYTE: inverts its lowest bit
  local v
  v=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %x $((v ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# found NAME KIND KEY COMMAND…: after the damage (done inside the replica) verify ends with 5 and names kind and object.
found() {
  local name=$1 kind=$2 key=$3
  shift 3
  copy_case "$golden/broken/good" case
  (cd "$T/case/replica" && eval "$*") || ok 1 "$name: damage done"
  run walbrook verify -json "$T/case/replica"
  is "$rc" 5 "$name: exit code 5"
  printf '%s\n' "$out" >"$T/out.json"
  is "$(sqlite3 :memory: "SELECT json_extract(f.value,'\$.kind')||' '||json_extract(f.value,'\$.key')
        FROM json_each(readfile('$T/out.json'),'\$.replicas') r, json_each(r.value,'\$.findings') f")" \
    "$kind $key" "$name: found, and nothing else" || note "$out"
}

found missing-middle-segment gap "$second" "rm $second"
found missing-first-segment gap "$g/wal/00000004_00000000.wal.lz4" "rm $g/wal/00000004_00000000.wal.lz4"
found missing-index index-hole "$g/wal/" "rm $g/wal/00000004_*"
found truncated-segment segment "$second" "truncate -s 673 $second"
found truncated-at-block-end segment "$second" "truncate -s -8 $second"
found truncated-to-frame-header segment "$second" "truncate -s 7 $second"
found empty-segment segment "$second" "truncate -s 0 $second"
found flipped-bit-segment segment "$second" "flip $second 541"
found flipped-bit-snapshot snapshot "$newest" "flip $newest 2329"
found flipped-bit-last-segment segment "$last" "flip $last 395"
found garbage-segment segment "$second" "head -c 1122 </dev/urandom >$second"
found wrong-content-segment wal-chain "$second" "cp $g/wal/00000005_00000000.wal.lz4 $second"
found another-index wal-header "$g/wal/00000008_00000000.wal.lz4" \
  "cp $g/wal/00000005_00000000.wal.lz4 $g/wal/00000008_00000000.wal.lz4"
found truncated-snapshot snapshot "$newest" "truncate -s 2000 $newest"
found empty-snapshot snapshot "$newest" "truncate -s 0 $newest"
found wrong-snapshot snapshot-mismatch "$newest" "cp $g/snapshots/00000000.snapshot.lz4 $newest"
found missing-all-snapshots no-snapshot "$g/snapshots/" "rm $g/snapshots/*"
found snapshot-only index-hole "$g/wal/" "rm $g/wal/*"
found snapshot-much-newer-than-wal index-hole "$g/wal/" "rm $g/wal/0000000[1-7]_*"

note "remarks"
copy_case "$golden/broken/good" case
rm "$T/case/replica/$g/snapshots/00000000.snapshot.lz4" "$T/case/replica/$g/wal/00000000_00000000.wal.lz4"
run walbrook verify "$T/case/replica"
is "$rc" 0 "what an interrupted retention leaves is no damage"
like "$out" '0 damage, 0 exactness, 1 remarks' "but told"
copy_case "$golden/broken/good" case
mkdir -p "$T/case/replica/lost+found" "$T/case/replica/generations/ABCDEF0123456789/wal"
for f in "$g/wal/00000008_00000000.wal.lz4.tmp" "$g/wal/00000011_00000000.WAL.LZ4" "$g/snapshots/README" "$g/notes.txt" \
  generations/foo.txt .DS_Store; do
  echo something >"$T/case/replica/$f"
done
run walbrook verify "$T/case/replica"
is "$rc" 0 "foreign names are no damage"
like "$out" '0 damage, 0 exactness, 8 remarks' "but told, every one"
like "$out" '^remark +generations/7fb8b2af171de49f/wal/00000008_00000000.wal.lz4.tmp' "a leftover of an upload, too"

note "the originals"
originals=${WALBROOK_FIXTURES:-$SOURCE/../shared/fixtures}/v03/broken
if [ -d "$originals" ]; then
  for c in "$originals"/*/; do
    copy_case "${c%/}" case
    run walbrook verify "$T/case/replica"
    case $(basename "$c") in
    good | missing-last-segment-of-index | missing-newest-index | missing-newest-snapshot | missing-oldest-snapshot | \
      retention-cut-short | snapshot-newer-than-wal | foreign-names) want=0 ;;
    *) want=5 ;;
    esac
    is "$rc" "$want" "$(basename "$c"): exit code $want" || note "$out"
  done
else
  skipped 1 "the original fixtures are not here"
fi

note "what cannot be verified"
mkdir "$T/empty"
run walbrook verify "$T/empty"
is "$rc" 4 "no generation: exit code 4"
run walbrook verify "file://$T/not-there"
is "$rc" 4 "no replica: exit code 4"
like "$out" 'not-there' "which is named"
echo >"$T/file"
run walbrook verify "file://$T/file"
is "$rc" 7 "not a directory: exit code 7"
cp -r "$T/case/replica" "$T/it's a copy"
run walbrook verify "$T/it's a copy"
command=$(sed -n "s|^  walbrook restore -o PATH |walbrook restore -o '$T/copied.db' |p" <<<"$out" | head -n 1)
eval "run $command"
is "$rc" 0 "the command that it prints is quoted as a shell needs it" || note "$command"
mkdir -p "$T/bare/generations/0123456789abcdef/wal"
cp "$T"/case/replica/generations/*/wal/*_00000000.wal.lz4 "$T/bare/generations/0123456789abcdef/wal"
touch "$T"/bare/generations/*/wal/*
run walbrook verify "$T/bare"
is "$rc" 4 "a generation that may be waiting for its first snapshot: exit code 4"
like "$out" 'nothing can be restored from it' "because nothing can be restored"
run walbrook verify -generation 0123456789abcdef "$T/case/replica"
is "$rc" 4 "no such generation: exit code 4"
run walbrook verify
is "$rc" 2 "without an argument: exit code 2"
run walbrook verify -generation x "$T/case/replica"
is "$rc" 2 "not a generation: exit code 2"
run walbrook verify "$golden/age/replica"
is "$rc" 3 "encrypted, without the key: exit code 3"
like "$out" 'encrypted' "says so"

note "a replica of ours"
db=$T/app.db
cat >"$T/app.yml" <<EOF2
dbs:
  - path: $db
    min-checkpoint-page-count: 20
    checkpoint-interval: 1s
    replicas:
      - path: $T/rep
        snapshot-interval: 1s
        sync-interval: 100ms
      - name: second
        path: $T/second
EOF2
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, a)' >/dev/null
start app replicate -config "$T/app.yml"
wait_for 20 replica_has "$T/rep" 'SELECT count(*) FROM t' 0
n=0 bad=''
more_snapshots() { # writes, and verifies what is there so far, until there are four snapshots
  local i
  for i in 1 2 3 4 5 6; do
    n=$((n + 1))
    sql "$db" "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<40)
               INSERT INTO t(a) SELECT randomblob(300) FROM c; UPDATE t SET a=randomblob(200) WHERE id%50=$n%50"
  done
  run walbrook verify "$T/rep"
  [ "$rc" -eq 0 ] || bad="$bad [$out]"
  [ "$(find "$T/rep" -name '*.snapshot.lz4' | wc -l)" -ge 4 ]
}
wait_for 40 more_snapshots
ok $? "several snapshots were made"
is "$bad" "" "no false alarm while it is written"
several_segments() { # of the newest WAL index: commits that are seen one by one, and too soon for a new WAL in between
  local i
  for i in 1 2 3; do
    echo 'UPDATE t SET a = randomblob(100) WHERE id = 1;'
    sleep 0.06
  done | sql "$db"
  sleep 0.2
  [[ $(ls "$T/rep/generations/"*/wal | tail -n 1) != *_00000000.* ]]
}
wait_for 30 several_segments
ok $? "the newest WAL index has several segments"
stop "$PID"
is "$rc" 0 "stopped"
run walbrook verify -config "$T/app.yml" "$db"
is "$rc" 0 "both replicas are sound"
is "$(printf '%s\n' "$out" | grep -c '^sound: 0 damage, 0 exactness, 0 remarks')" 2 "without a remark" || note "$out"
like "$out" '^restorable .*Z to .*Z$' "to an exact time"

gen=$(ls "$T/rep/generations")
cp -r "$T/rep" "$T/whole"
restores_end() { # the last command that verify printed restores; prints the rows
  local words
  words=$(printf '%s\n' "$out" | sed -n 's/^  walbrook \(restore -o PATH .*\)/\1/p' | tail -n 1)
  rm -f "$T/end.db"
  # shellcheck disable=SC2086 # words
  "$WALBROOK" ${words/PATH/$T\/end.db} >>"$T/end.out" 2>&1 && sql "$T/end.db" 'SELECT count(*) FROM t'
}
run walbrook verify "$T/rep"
is "$(restores_end)" $((n * 40)) "the command that it prints restores all"

# Of what was written in the last minute the end may be on its way still: so it was not.
find "$T/rep" "$T/whole" -type f -exec touch -d '1 hour ago' {} +
tail=$(ls "$T/rep/generations/$gen/wal" | tail -n 1)
rm "$T/rep/generations/$gen/wal/$tail"
run walbrook verify "$T/rep"
is "$rc" 5 "the newest segment is missing: exit code 5"
like "$out" '^damage +generations/.*/wal/'"$tail" "its name is told"
like "$out" 'end of WAL index|has begun|is missing' "and what is missing"

rm -rf "$T/rep" && cp -r "$T/whole" "$T/rep"
index=$(ls "$T/rep/generations/$gen/index" | head -n 1)
flip "$T/rep/generations/$gen/index/$index" 9
run walbrook verify "$T/rep"
is "$rc" 0 "a damaged index object: exit code 0"
like "$out" '^exactness +generations/.*/index/'"$index" "costs exactness"

rm -rf "$T/rep" && cp -r "$T/whole" "$T/rep"
snapshot=$(ls "$T/rep/generations/$gen/snapshots" | sed -n 2p)
cp "$T/rep/generations/$gen/snapshots/$(ls "$T/rep/generations/$gen/snapshots" | head -n 1)" \
  "$T/rep/generations/$gen/snapshots/$snapshot"
run walbrook verify "$T/rep"
is "$rc" 5 "a snapshot in the place of another: exit code 5"
like "$out" '^damage +generations/.*/snapshots/'"$snapshot" "is named"

note "one of two replicas"
run walbrook verify -config "$T/app.yml" "$db"
is "$rc" 5 "one is damaged: exit code 5"
run walbrook verify -config "$T/app.yml" -replica second "$db"
is "$rc" 0 "the other is not"
rm -rf "$T/rep"
run walbrook verify -config "$T/app.yml" "$db"
is "$rc" 4 "one is not there: exit code 4"
like "$out" '^sound:' "the other is read all the same"
run walbrook verify -json -config "$T/app.yml" "$db"
printf '%s\n' "$out" | sed '/^walbrook: /d' >"$T/out.json"
is "$(sqlite3 :memory: "SELECT group_concat(json_extract(value,'\$.result')) FROM json_each(readfile('$T/out.json'),'\$.replicas')")" \
  "nothing,sound" "JSON tells both"

done_testing
