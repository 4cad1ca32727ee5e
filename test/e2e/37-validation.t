#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# validation-interval: a restore drill that is compared with the live database, while its application writes.
. "${0%/*}/lib.sh"

db=$T/app.db
sql "$db" "PRAGMA page_size=1024; PRAGMA journal_mode=wal; CREATE TABLE t(a);
  WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) INSERT INTO t SELECT hex(randomblob(200)) FROM n" >/dev/null
cat >"$T/walbrook.yml" <<END
dbs:
  - path: $db
    replicas:
      - path: $T/one
        name: one
        validation-interval: 500ms
      - path: $T/two
        name: two
END

validations() { # how many went well
  grep -c 'replica validated.*replica=one' "$T/run.log"
}
more_than() {
  [ "$(validations)" -gt "$1" ]
}

start run replicate -config "$T/walbrook.yml"
wait_for 30 says run 'replica validated.*replica=one'
ok $? "a quiet database: the drill gives it, page by page"
(for ((i = 0; i < 400; i++)); do
  echo "INSERT INTO t SELECT hex(randomblob(300)) FROM t LIMIT 5; UPDATE t SET a=hex(randomblob(150)) WHERE rowid=1+abs(random())%3000;"
  [ $((i % 100)) -ne 50 ] || echo 'DELETE FROM t WHERE rowid%7=3; VACUUM;'
  [ $((i % 40)) -ne 20 ] || echo 'PRAGMA wal_checkpoint(TRUNCATE);'
  echo '.shell sleep 0.01'
done | sql "$db" >/dev/null) &
writer=$!
PIDS+=("$writer")
before=$(validations)
wait_for 30 more_than $((before + 2))
ok $? "and so it does while an application writes, vacuums and checkpoints"
wait "$writer"
says run 'replica is not what'
[ $? -ne 0 ]
ok $? "no false alarm"
[ "$(find "$T" -name '*drill*' | wc -l)" -eq 0 ]
ok $? "nothing is written to disk"

note "damage"
g=$(ls "$T/one/generations")
sql "$db" "INSERT INTO t VALUES('x')"
object=$(find "$T/one/generations/$g/snapshots" -name '*.lz4' | sort | tail -n 1)
printf '\xff\xfe\xfd' | dd of="$object" bs=1 seek=5000 conv=notrunc 2>/dev/null
wait_for 30 says run 'replica is not what the database is.*replica=one.*snapshots/'
ok $? "a damaged snapshot is found, and named"
wait_for 30 says run 'new generation.*validation'
ok $? "a new generation begins"
n=$(validations)
wait_for 30 more_than "$n"
ok $? "which is validated"
stop "$PID"
is "$rc" 0 "stopped"
restores_to "$T/one" "$db"
ok $? "the replica restores"
restores_to "$T/two" "$db"
ok $? "and so does the other one"
done_testing
