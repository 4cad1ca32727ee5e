#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The daemon beside an application: how it starts, waits, stops and goes on, and what it makes of databases that appear,
# change, move and disappear. Each case ends with a restore that must equal the source.
. "${0%/*}/lib.sh"

wal_db() { # DATABASE: made in WAL mode, with one row
  sql "$1" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
}

add() { # DATABASE N: commits N more rows, one by one
  local i
  for ((i = 0; i < $2; i++)); do
    echo "INSERT INTO t VALUES(hex(randomblob(100)));"
  done | sql "$1"
}

count() {
  sql "$1" 'SELECT count(*) FROM t'
}

# An application that has the database open all the time and writes nothing, so that no close of another one tidies
# the WAL away. Sets $HOLDER.
hold_open() { # DATABASE
  mkfifo "$1.fifo"
  sqlite3 -batch "$1" <"$1.fifo" >/dev/null 2>&1 &
  HOLDER=$!
  PIDS+=("$HOLDER")
  exec {hold_fd}>"$1.fifo"
  echo 'SELECT count(*) FROM t;' >&"$hold_fd"
  wait_for 10 has_open "$HOLDER" "$1-wal"
}

has_open() { # PID FILE
  ls -l "/proc/$1/fd" 2>/dev/null | grep -qF -- "$2"
}

let_go() {
  exec {hold_fd}>&-
  wait "$HOLDER"
}

note "stopping"
db=$T/stop.db
wal_db "$db"
start stop replicate "$db" "file://$T/stop.r"
wait_for 20 replica_has "$T/stop.r" 'SELECT count(*) FROM t' 1
add "$db" 200
stop "$PID" TERM
is "$rc" 0 "SIGTERM: exit code 0"
[ -s "$db-wal" ]
ok $? "the WAL is left as it is"
restores_to "$T/stop.r" "$db"
ok $? "everything committed before SIGTERM is in the replica"
start stop replicate "$db" "file://$T/stop.r"
wait_for 20 says stop 'generation continues'
ok $? "the next start goes on in the same generation"
add "$db" 20
stop "$PID" INT
is "$rc" 0 "SIGINT: exit code 0"
restores_to "$T/stop.r" "$db"
ok $? "and everything is there as well"

note "what it leaves of the application's database"
is "$(sql "$db" "SELECT group_concat(name) FROM sqlite_master")" t "no table of ours"
is "$(sql "$db" 'PRAGMA journal_mode')" wal "still in WAL mode"
is "$(ls -A "$T" | grep -E '^\.?stop\.db' | sort | tr '\n' ' ')" ".stop.db-litestream stop.db " \
  "only the metadata directory stays beside it when its application has closed it"

note "going on after a stop"
db=$T/on.db
wal_db "$db"
start on replicate "$db" "file://$T/on.r"
wait_for 20 replica_has "$T/on.r" 'SELECT count(*) FROM t' 1
hold_open "$db"
add "$db" 1
# As long as it reads nothing is copied, however long the moments between the steps here: so the WAL goes on.
printf '.output %s\nBEGIN; SELECT count(*) FROM t;\n' "$T/held" >&"$hold_fd"
wait_for 20 [ -s "$T/held" ]
add "$db" 9
stop "$PID"
add "$db" 10
start on replicate "$db" "file://$T/on.r"
wait_for 20 replica_has "$T/on.r" 'SELECT count(*) FROM t' 21
ok $? "commits made while it was stopped are captured"
is "$(generations "$T/on.r")" 1 "in the same generation"
kill -9 "$PID"
wait "$PID" 2>/dev/null
add "$db" 10
start on replicate "$db" "file://$T/on.r"
wait_for 20 replica_has "$T/on.r" 'SELECT count(*) FROM t' 31
ok $? "also after kill -9"
is "$(generations "$T/on.r")" 1 "in the same generation"
stop "$PID"
let_go
# Now the application was the last one to close: SQLite has deleted the WAL, and what was in it cannot be told.
sql "$db" 'PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(2)' >/dev/null
[ ! -s "$db-wal" ]
ok $? "the application has done away with the WAL"
start on replicate "$db" "file://$T/on.r"
wait_for 20 replica_has "$T/on.r" 'SELECT count(*) FROM t' 32
ok $? "a WAL that was restarted meanwhile: all is there again"
is "$(generations "$T/on.r")" 2 "in a new generation"
says on 'msg="new generation".*reason='
ok $? "and the log says why"
stop "$PID"
restores_to "$T/on.r" "$db"
ok $? "the replica equals the source"

note "a replica that is not to be had"
db=$T/away.db
wal_db "$db"
touch "$T/wall"
start away replicate "$db" "file://$T/wall/replica" "file://$T/away.r"
wait_for 20 replica_has "$T/away.r" 'SELECT count(*) FROM t' 1
add "$db" 5
wait_for 20 replica_has "$T/away.r" 'SELECT count(*) FROM t' 6
ok $? "the other replica does not wait for it"
wait_for 10 says away "level=(WARN|ERROR).*$T/wall/replica"
ok $? "the log names its path"
rm "$T/wall"
mkdir "$T/wall"
wait_for 60 replica_has "$T/wall/replica" 'SELECT count(*) FROM t' 6
ok $? "it catches up by itself when it is there again"
stop "$PID"
is "$rc" 0 "and nothing is owed at the end"
touch "$T/wall2"
start away2 replicate "$db" "file://$T/wall2/replica"
wait_for 20 says away2 "$T/wall2/replica.*tries|error=.*$T/wall2"
kill -TERM "$PID"
sleep 0.5
kill -0 "$PID"
ok $? "SIGTERM with something unshipped: it still tries"
kill -TERM "$PID"
reap "$PID" 3
is "$rc" 10 "a second signal ends it at once: exit code 10"
says away2 "(the replica has no snapshot yet|not everything was shipped).*$T/wall2" && ! says away2 'not everything was captured'
ok $? "what the replica lacks is said, and nothing else"

note "a replica that is emptied under our hands"
db=$T/emptied.db
wal_db "$db"
start emptied replicate "$db" "file://$T/emptied.r"
wait_for 20 replica_has "$T/emptied.r" 'SELECT count(*) FROM t' 1
add "$db" 5
wait_for 20 replica_has "$T/emptied.r" 'SELECT count(*) FROM t' 6
rm -r "$T/emptied.r"
add "$db" 5
wait_for 20 replica_has "$T/emptied.r" 'SELECT count(*) FROM t' 11
ok $? "the next commit finds out, and it is restorable again"
says emptied 'msg="new generation".*reason="what was in a replica is not there any more"'
ok $? "in a new generation, and the log says why"
stop "$PID"
is "$rc" 0 "nothing is owed at the end"
restores_to "$T/emptied.r" "$db"
ok $? "the replica equals the source"

note "a replica that is emptied before the first commit: only a snapshot was there"
db=$T/early.db
wal_db "$db"
start early replicate "$db" "file://$T/early.r"
wait_for 20 says early 'msg="snapshot written"'
rm -r "$T/early.r"
add "$db" 5
wait_for 20 replica_has "$T/early.r" 'SELECT count(*) FROM t' 6
ok $? "the next commit finds out, and it is restorable again"
stop "$PID"
is "$rc" 0 "nothing is owed at the end"

note "a replica on a disk that is full"
db=$T/full.db
wal_db "$db"
sql "$db" 'INSERT INTO t VALUES(randomblob(1000000))'
if small_disk 256k; then
  start full replicate "$db" "file://$T/disk/r" "file://$T/full.r"
  wait_for 20 says full "level=(WARN|ERROR).*$T/disk/r.*No space left"
  ok $? "the log names it, and why"
  wait_for 20 replica_has "$T/full.r" 'SELECT count(*) FROM t' 2
  ok $? "the other replica does not wait for it"
  add "$db" 3
  ok $? "nor does the application"
  is "$(find "$T/disk" -name '*.tmp*')" "" "nothing half-written is left on it"
  mount -o remount,size=16m "$T/disk"
  wait_for 60 replica_has "$T/disk/r" 'SELECT count(*) FROM t' 5
  ok $? "it catches up by itself when there is room"
  stop "$PID"
  is "$rc" 0 "and nothing is owed at the end"
else
  skipped 6 "no file system can be mounted here"
fi

note "-exec"
db=$T/exec.db
wal_db "$db"
run walbrook replicate -exec "sh -c 'sqlite3 \"$db\" \"INSERT INTO t VALUES(7)\"; exit 7'" "$db" "file://$T/exec.r"
is "$rc" 7 "the exit status is the command's"
restores_to "$T/exec.r" "$db"
ok $? "what it wrote last was shipped before the end"
run walbrook replicate -exec "sh -c 'kill -9 \$\$'" "$db" "file://$T/exec.r"
is "$rc" 137 "a command that was killed: 128 + signal"
start exec replicate -exec 'sleep 1000' "$db" "file://$T/exec.r"
wait_for 10 says exec 'generation continues|new generation'
stop "$PID"
[ "$rc" -ne 124 ]
ok $? "SIGTERM is handed on to the command"
run walbrook replicate -exec '' "$db" "file://$T/exec.r"
is "$rc" 2 "an empty command: exit code 2"
run walbrook replicate -exec "sh -c 'unfinished" "$db" "file://$T/exec.r"
[ "$rc" -eq 2 ] && like "$out" 'quote' "a quote without its end: said" || ok 1 "a quote without its end: exit code $rc"
run walbrook replicate -exec "$T/no-such-program" "$db" "file://$T/exec.r"
[ "$rc" -ne 0 ]
ok $? "a command that is not there: not 0"
like "$out" 'no-such-program' "and named"

note "several databases, several replicas, from a configuration"
{
  echo 'dbs:'
  for n in 1 2 3; do
    wal_db "$T/many$n.db"
    printf '  - path: %s\n    replicas:\n' "$T/many$n.db"
    printf '      - path: %s\n        name: a\n      - url: file://%s\n        name: b\n        sync-interval: 50ms\n' \
      "$T/many$n.a" "$T/many$n.b"
  done
} >"$T/many.yml"
start many replicate -config "$T/many.yml"
for n in 1 2 3; do
  add "$T/many$n.db" $((n * 7))
done
stop "$PID"
is "$rc" 0 "stopped with everything shipped"
for n in 1 2 3; do
  restores_to "$T/many$n.a" "$T/many$n.db" && restores_to "$T/many$n.b" "$T/many$n.db"
  ok $? "database $n is in both places"
done
run walbrook restore -config "$T/many.yml" -o "$T/many.out" "$T/many2.db"
is "$rc:$(count "$T/many.out" 2>/dev/null)" "0:15" "restore by the path of the database"
run walbrook restore -config "$T/many.yml" -replica b -o "$T/many.out2" "$T/many3.db"
is "$rc:$(count "$T/many.out2" 2>/dev/null)" "0:22" "restore from a replica by its name"

note "the configuration of README.md"
mkdir -p "$T/readme/app" "$T/readme/backup" "$T/readme/other"
sed -n '/^```yaml$/,/^```$/p' "$SOURCE/README.md" | sed -e '1d;$d' -e "s,/var/lib/app,$T/readme/app," \
  -e "s,/mnt,$T/readme," >"$T/readme.yml"
wal_db "$T/readme/app/app.db"
start readme replicate -config "$T/readme.yml"
wait_for 20 replica_has "$T/readme/backup/app" 'SELECT count(*) FROM t' 1
ok $? "it replicates"
stop "$PID"
is "$rc" 0 "stopped with everything shipped"
rm -f "$T/readme/app/app.db" "$T/readme/app/app.db"-*
run walbrook restore -config "$T/readme.yml" -if-db-not-exists "$T/readme/app/app.db"
is "$rc:$(count "$T/readme/app/app.db")" 0:1 "and restores"

note "one broken database does not stop the others"
head -c 8192 /dev/urandom >"$T/garbage.db"
printf 'dbs:\n  - path: %s\n    replicas: [path: %s]\n  - path: %s\n    replicas: [path: %s]\n' \
  "$T/garbage.db" "$T/garbage.r" "$T/many1.db" "$T/many1.a" >"$T/mixed.yml"
start mixed replicate -config "$T/mixed.yml"
add "$T/many1.db" 3
wait_for 20 replica_has "$T/many1.a" 'SELECT count(*) FROM t' 11
ok $? "the good one is replicated"
wait_for 10 says mixed 'garbage\.db.*not a (SQLite )?database'
ok $? "the bad one is said in the log"
stop "$PID"

note "databases that come later"
db=$T/later.db
start later replicate "$db" "file://$T/later.r"
wait_for 10 says later 'waiting'
ok $? "a database that is not there is waited for"
is "$(ls -A "$T" | grep -c '^later\.db')" 0 "nothing is made in its place"
sql "$db" 'PRAGMA page_size=512; PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
add "$db" 30
wait_for 20 replica_has "$T/later.r" 'SELECT count(*) FROM t' 31
ok $? "once its application has made it, it is replicated"
is "$(sql "$db" 'PRAGMA page_size')" 512 "with the application's own page size"
stop "$PID"
restores_to "$T/later.r" "$db"
ok $? "the replica equals the source"
db=$T/empty.db
: >"$db"
start empty replicate "$db" "file://$T/empty.r"
wait_for 10 says empty 'waiting'
ok $? "an empty file is waited for as well"
is "$(wc -c <"$db")" 0 "and stays empty"
sql "$db" 'PRAGMA page_size=8192; PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
wait_for 20 replica_has "$T/empty.r" 'SELECT count(*) FROM t; PRAGMA page_size' "1
8192"
ok $? "until its application fills it, with its own page size"
stop "$PID"

note "a database in rollback journal mode"
db=$T/journal.db
sql "$db" 'CREATE TABLE t(a); INSERT INTO t VALUES(1)'
start journal replicate "$db" "file://$T/journal.r"
wait_for 20 replica_has "$T/journal.r" 'SELECT count(*) FROM t' 1
ok $? "it is replicated"
is "$(sql "$db" 'PRAGMA journal_mode')" wal "after it was turned to WAL mode"
says journal 'WAL mode'
ok $? "which the log says"
add "$db" 9
stop "$PID"
restores_to "$T/journal.r" "$db"
ok $? "the replica equals the source"

note "files that are deleted or replaced"
db=$T/gone.db
wal_db "$db"
start gone replicate "$db" "file://$T/gone.r"
wait_for 20 replica_has "$T/gone.r" 'SELECT count(*) FROM t' 1
rm -f "$db" "$db-wal" "$db-shm"
sleep 0.3
wal_db "$db"
add "$db" 4
wait_for 90 replica_has "$T/gone.r" 'SELECT count(*) FROM t' 5
ok $? "deleted and made anew: the new one is replicated"
is "$(generations "$T/gone.r")" 2 "in a new generation"
wal_db "$T/next.db"
add "$T/next.db" 41
sql "$T/next.db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
rm -f "$db-wal" "$db-shm"
mv "$T/next.db" "$db"
wait_for 90 replica_has "$T/gone.r" 'SELECT count(*) FROM t' 42
ok $? "replaced by another file: that one is replicated"
# Who looks between the rm and the mv sees a database without its WAL: that can be a generation of its own.
test "$(generations "$T/gone.r")" -ge 3
ok $? "in a new generation"
add "$db" 1
stop "$PID"
is "$rc" 0 "stopped with everything shipped"
restores_to "$T/gone.r" "$db"
ok $? "the replica equals the source"

note "symbolic links"
mkdir "$T/real"
wal_db "$T/real/data.db"
ln -s "real/data.db" "$T/link.db"
start link replicate "$T/link.db" "file://$T/link.r"
wait_for 20 replica_has "$T/link.r" 'SELECT count(*) FROM t' 1
add "$T/real/data.db" 5
add "$T/link.db" 5
wait_for 20 replica_has "$T/link.r" 'SELECT count(*) FROM t' 11
ok $? "commits through the link and through the file are captured"
[ -e "$T/real/data.db-wal" ] && [ ! -e "$T/link.db-wal" ]
ok $? "the WAL lies beside the real file"
stop "$PID"
restores_to "$T/link.r" "$T/real/data.db"
ok $? "the replica equals the source"

note "names"
mkdir "$T/names"
names=('with space.db' 'what?mode=ro.db' 'per%20cent.db' 'hash#1.db' 'co:lon.db' "quo'te\"s.db" 'grüße-数据.db' '-dash.db'
  'file:odd.db')
{
  echo 'dbs:'
  for name in "${names[@]}"; do
    wal_db "$T/names/$name" >/dev/null
    quoted=${name//\"/\\\"}
    printf '  - path: "%s"\n    replicas:\n      - path: "%s"\n        sync-interval: 50ms\n' \
      "$T/names/${quoted//\?/\\\\?}" "$T/names/r of $quoted" # a bare ? would be a pattern
  done
} >"$T/names.yml"
start names replicate -config "$T/names.yml"
for name in "${names[@]}"; do
  wait_for 20 replica_has "$T/names/r of $name" 'SELECT count(*) FROM t' 1
  add "$T/names/$name" 3
done
stop "$PID"
is "$rc" 0 "stopped with everything shipped"
for name in "${names[@]}"; do
  restores_to "$T/names/r of $name" "$T/names/$name"
  ok $? "a database called $name"
done
cd "$T/names" || exit 1
for name in "${names[@]}"; do
  case $name in
  -*) path=./$name ;; # as for every program
  *) path=$name ;;
  esac
  run walbrook restore -o "./again $name" "./r of $name"
  is "$rc:$(count "./again $name" 2>/dev/null)" 0:4 "restored by relative paths: $path"
done
cd "$SOURCE" || exit 1

note "a replica that was left out for a while, and lacks the end of a WAL index"
db=$T/out.db
wal_db "$db"
hold_open "$db"
for n in both one; do
  printf 'dbs: [{path: %s, replicas: [{name: a, path: %s}' "$db" "$T/out.a"
  [ "$n" = one ] || printf ', {name: b, path: %s}' "$T/out.b"
  echo ']}]'
done >"$T/out.yml"
sed -n 1p "$T/out.yml" >"$T/out.both.yml"
sed -n 2p "$T/out.yml" >"$T/out.one.yml"
start out replicate -config "$T/out.both.yml"
wait_for 20 replica_has "$T/out.b" 'SELECT count(*) FROM t' 1
echo "BEGIN; SELECT count(*) FROM t;
.shell touch $T/out.reads" >&"$hold_fd" # from now on the WAL cannot begin anew
wait_for 20 test -e "$T/out.reads"
add "$db" 1
stop "$PID"
start out1 replicate -config "$T/out.one.yml"
wait_for 20 says out1 'generation continues'
sql "$db" "CREATE TABLE u(x); INSERT INTO u VALUES(7)"
wait_for 20 replica_has "$T/out.a" 'SELECT x FROM u' 7
echo 'COMMIT;' >&"$hold_fd"
at_rest() { # all is copied and shipped: the next commit begins the WAL anew
  sleep 1
  is_copied=$(sql "$db" 'PRAGMA wal_checkpoint')
  [ "${is_copied#*|}" = "${is_copied##*|}|${is_copied##*|}" ]
}
wait_for 20 at_rest
mv "$T/out.a" "$T/out.away"
: >"$T/out.a" # what comes now stays in the spool
add "$db" 1
in_spool() {
  (cd "$T/.out.db-litestream/walbrook/spool" && ls ./*/*.lz4 2>/dev/null | sed 's/.*\///')
}
wait_for 20 eval '[ "$(in_spool)" ]'
is "$(in_spool)" 00000001_00000000.wal.lz4 "the WAL has begun anew, and nothing else is in the spool"
kill -9 "$PID"
wait "$PID" 2>/dev/null
rm "$T/out.a"
mv "$T/out.away" "$T/out.a"
start out2 replicate -config "$T/out.both.yml"
wait_for 20 replica_has "$T/out.b" 'SELECT count(*) FROM t' "$(count "$db")"
ok $? "after that it gets what is new"
stop "$PID"
for n in a b; do
  restores_to "$T/out.$n" "$db"
  ok $? "and what came before: replica $n"
done
let_go

note "a replica that was given up for its lag, and then a new generation"
db=$T/lag.db
wal_db "$db"
cat >"$T/lag.yml" <<E
dbs:
  - path: $db
    spool-quota: 1MiB
    replicas:
      - {name: a, path: $T/lag.a, sync-interval: 20ms}
      - {name: b, path: $T/lag.b, sync-interval: 20ms}
E
: >"$T/lag.b" # in the way
start lag replicate -config "$T/lag.yml"
wait_for 20 replica_has "$T/lag.a" 'SELECT count(*) FROM t' 1
falls_behind() {
  sql "$db" 'INSERT INTO t VALUES(randomblob(200000))'
  says lag 'lags too far behind'
}
wait_for 30 falls_behind
ok $? "it is given up, so that the spool has room for the other one"
wal_db "$T/lag.next"
sql "$T/lag.next" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
rm -f "$db-wal" "$db-shm" "$T/lag.b"
mv "$T/lag.next" "$db"
sql "$db" "INSERT INTO t VALUES('of the new one')"
wait_for 90 replica_has "$T/lag.b" 'SELECT a FROM t WHERE rowid = 2' 'of the new one'
ok $? "it takes part in the new generation"
stop "$PID"
is "$rc" 0 "stopped with everything shipped"
restores_to "$T/lag.b" "$db"
ok $? "the replica equals the source"

done_testing
