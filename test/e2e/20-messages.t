#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Bad input: every kind of it gets its exit code and one line that names what is wrong, where, and what to do.
# The codes are those of docs/exit-codes.md; a change here is a broken promise to scripts.
. "${0%/*}/lib.sh"

# fails CODE DESCRIPTION ERE…: the last `run` ended with CODE, said every ERE, and said its error on one line.
fails() {
  local code=$1 what=$2
  shift 2
  is "$rc" "$code" "$what: exit code $code" || note "$out"
  local missing='' re
  for re; do
    printf '%s\n' "$out" | grep -Eq -- "$re" || missing="$missing [$re]"
  done
  is "$missing" "" "$what: says what is wrong" || note "said: $out"
}

# A clean replica and its database, used below.
db=$T/good.db replica=$T/replica
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
start good replicate "$db" "file://$replica"
wait_for 20 replica_has "$replica" 'SELECT a FROM t' 1
sql "$db" 'INSERT INTO t VALUES(2)'
for n in 3 4; do
  sql "$db" "INSERT INTO t VALUES($n)"
  wait_for 20 replica_has "$replica" 'SELECT max(a) FROM t' "$n"
done
stop "$PID"
is "$rc" 0 "a replica to break is there"
generation=$(ls "$replica/generations")

note "command line"
run walbrook
fails 2 "no command" '^Usage: walbrook COMMAND' 'restore'
run walbrook help
is "$rc" 0 "help: exit code 0"
run walbrook restroe
fails 2 "unknown command" 'restroe' 'restore'
run walbrook restore -parallelizm 3 -o "$T/x" "$replica"
fails 2 "unknown flag" '-parallelizm' '-parallelism'
run walbrook restore "$replica" -o "$T/x"
fails 2 "flag after an argument" '-o' 'before'
run walbrook restore -o "$T/x" -index zz "$replica"
fails 2 "bad -index" '-index' 'zz' 'hex'
run walbrook restore -o "$T/x" -index 11112222333344445 "$replica"
fails 2 "-index with too many digits" '-index' '11112222333344445'
run walbrook restore -o "$T/x" -timestamp yesterday "$replica"
fails 2 "bad -timestamp" '-timestamp' 'yesterday' '[0-9]{4}-[0-9]{2}-[0-9]{2}T'
run walbrook restore -o "$T/x" -timestamp 2000-02-30T00:00:00Z "$replica"
fails 2 "a day that is none" '-timestamp' '2000-02-30'
run walbrook restore -o "$T/x" -index 0 -timestamp 2000-01-01T00:00:00Z "$replica"
fails 2 "-index with -timestamp" '-index' '-timestamp'
run walbrook restore -o "$T/x" -generation nonsense "$replica"
fails 2 "bad -generation" '-generation' 'nonsense' '16'
run walbrook restore -o "$T/x" -parallelism many "$replica"
fails 2 "a number that is none" '-parallelism' 'many'
run walbrook restore -o "$T/x"
fails 2 "nothing to restore from" 'missing'
run walbrook restore -o "$T/x" "$replica" "$T/another"
fails 2 "too many arguments" 'another'
run walbrook restore "$replica"
fails 2 "a replica without -o" '-o'
run walbrook replicate "$db"
fails 2 "replicate without a place" 'replica'
run walbrook replicate -config "$T/x.yml" "$db" "file://$replica"
fails 2 "configuration and arguments" '-config'

run walbrook replicate -config "$T"
fails 3 "a directory as configuration" "$T" 'directory'
for command in replicate databases config check; do
  if [ -e /etc/walbrook.yml ] || [ -e /etc/litestream.yml ]; then
    skipped 1 "this machine has a configuration"
    continue
  fi
  run env -u WALBROOK_CONFIG -u LITESTREAM_CONFIG "$WALBROOK" "$command"
  fails 3 "$command without any configuration" 'no configuration'
done
for word in -version --version; do
  run walbrook "$word"
  is "$rc:$out" "0:$(cat "$SOURCE/VERSION")" "$word prints the version"
done
for word in -h -help --help; do
  run walbrook "$word"
  is "$rc" 0 "$word is no error"
  like "$out" '^ +replicate' "and lists the commands"
done

note "places"
run walbrook replicate "$db" "ftp://host/backup"
fails 2 "unknown URL scheme" '"?ftp' 'file'
run walbrook restore -o "$T/x" "gopher://host/backup"
fails 2 "unknown URL scheme to restore from" '"?gopher' 'file'
for url in s3://bucket/db gcs://bucket/db abs://account@container/db sftp://user@host/db; do
  run walbrook restore -o "$T/x" "$url"
  fails 3 "${url%%:*} in this version" "${url%%:*}" 'not|yet'
done
run walbrook restore -o "$T/x" "sftp://user:hunter2@host/db"
like "$out" 'sftp' "a refused URL is named"
is "$(grep -c hunter2 <<<"$out")" 0 "its password is not"
run walbrook restore -o "$T/x" "file://$T/nowhere"
fails 4 "replica directory that does not exist" "$T/nowhere"
run walbrook restore -o "$T/x" "$T/nowhere"
fails 4 "the same as a plain path" "$T/nowhere does not exist"
ln -s "$T/round" "$T/round"
run walbrook restore -if-replica-exists -o "$T/x" "$T/round/r"
fails 7 "a replica that cannot be looked at is not one that is not there" "$T/round/r: cannot look at it"
mkdir "$T/empty"
run walbrook restore -o "$T/x" "$T/empty"
fails 4 "empty replica" 'no backup found' "$T/empty"
run walbrook restore -if-replica-exists -o "$T/x" "$T/empty"
is "$rc" 0 "empty replica with -if-replica-exists: exit code 0"
run walbrook restore -o "$T/x" "$db"
fails 4 "a file where a replica should be" "$db"
run walbrook restore -o "$T/x" -generation 0123456789abcdef "$replica"
fails 4 "a generation that is not there" '0123456789abcdef'
run walbrook restore -o "$T/x" -timestamp 2001-01-01T00:00:00Z "$replica"
fails 4 "a time before the first backup" '20[0-9][0-9]-[0-9]+-[0-9]+T'
is "$(ls "$T" | grep -c '^x')" 0 "nothing is left behind by any of these"

note "output"
printf 'precious' >"$T/there"
run walbrook restore -o "$T/there" "$replica"
fails 6 "output exists" "$T/there"
run walbrook restore -o "$T/there" "$T/nowhere"
fails 6 "output exists, looked at before the replica" "$T/there"
run walbrook restore -config "$T/no.yml" -o "$T/there" "$T/no.db"
fails 6 "output exists, looked at before the configuration" "$T/there"
run walbrook restore -if-db-not-exists -o "$T/there" "$replica"
is "$rc" 0 "output exists with -if-db-not-exists: exit code 0"
is "$(cat "$T/there")" precious "and the file is as it was"
for suffix in wal shm journal; do
  printf 'stale' >"$T/beside-$suffix"
  run walbrook restore -o "$T/beside" "$replica"
  fails 6 "a stale -$suffix beside the output" "$T/beside-$suffix"
  [ ! -e "$T/beside" ] && [ "$(cat "$T/beside-$suffix")" = stale ]
  ok $? "nothing is made or changed there (-$suffix)"
  rm -f "$T/beside-$suffix"
done
run walbrook restore -o "$T/there/below/x" "$replica"
[ "$rc" -ne 0 ]
ok $? "output below a file: refused"
like "$out" "$T/there" "output below a file: says where"

note "damaged replicas"
broken() { # a fresh copy to break
  rm -rf "$T/broken"
  cp -r "$replica" "$T/broken"
}
broken
segment=$(find "$T/broken" -name '*.wal.lz4' | sort | tail -n 1)
printf '\377' | dd of="$segment" bs=1 seek=$(($(wc -c <"$segment") - 2)) conv=notrunc status=none
run walbrook restore -o "$T/x" "$T/broken"
fails 5 "a segment with a wrong checksum" "${segment##*/}" 'checksum'
broken
: >"$segment"
run walbrook restore -o "$T/x" "$T/broken"
fails 5 "an empty segment" "${segment##*/}" 'empty'
broken
printf 'age-encryption.org/v1\n-> X25519 ' >"$segment"
head -c 300 /dev/urandom >>"$segment"
run walbrook restore -o "$T/x" "$T/broken"
[ "$rc" -ne 0 ]
ok $? "an encrypted object: refused"
like "$out" 'encrypted' "an encrypted object: says so"
broken
rm -f "$T/broken/generations/$generation"/wal/00000000_00000000.wal.lz4
run walbrook restore -o "$T/x" "$T/broken"
fails 5 "the first segment is missing" '00000000' "$generation"
broken
for s in "$T/broken/generations/$generation"/snapshots/*; do
  head -c 20 "$s" >"$s.cut" && mv "$s.cut" "$s"
done
run walbrook restore -o "$T/x" "$T/broken"
fails 5 "a cut snapshot" 'snapshot\.lz4'
broken
rm -rf "$T/broken/generations/$generation/snapshots"
run walbrook restore -o "$T/x" "$T/broken"
fails 4 "no snapshot" 'no backup found|snapshot'
is "$(ls "$T" | grep -c '^x')" 0 "nothing is left behind by any of these"
broken
mv "$T/broken" "$T/it's broken"
segment=$(find "$T/it's broken" -name '*.wal.lz4' | sort | tail -n 1)
printf '\377' | dd of="$segment" bs=1 seek=$(($(wc -c <"$segment") - 2)) conv=notrunc status=none
printf 'dbs: [{path: "%s", replicas: [{path: "%s"}, {path: "%s", name: none}]}]\n' \
  "$T/lost.db" "$T/it's broken" "$T/empty" >"$T/a config.yml"
run walbrook restore -config "$T/a config.yml" "$T/lost.db"
fails 5 "a damaged replica of a configured database" "${segment##*/}" '-config' '-replica file'
eval "run walbrook ${out##*: walbrook }"
is "$rc" 0 "the command that the message names works as it stands" || note "$out"
is "$(sql "$T/lost.db" 'SELECT max(a) FROM t')" 3 "and restores all that comes before the damage"

note "databases"
LIMIT=15
yes 'This is a text, and a long one.' | head -c 20000 >"$T/text.db"
run walbrook replicate "$T/text.db" "file://$T/r1"
fails 5 "not a database" "$T/text.db" 'not a (SQLite )?database'
head -c 32768 /dev/urandom >"$T/secret.db"
run walbrook replicate "$T/secret.db" "file://$T/r1"
fails 5 "an encrypted database" "$T/secret.db" 'encrypted'
mkdir "$T/dir.db"
run walbrook replicate "$T/dir.db" "file://$T/r1"
[ "$rc" -ne 0 ] && [ "$rc" -lt 124 ]
ok $? "a directory as a database: refused"
like "$out" "$T/dir.db" "a directory as a database: named"
ln -s "$T/loop.db" "$T/loop.db"
run walbrook replicate "$T/loop.db" "file://$T/r1"
[ "$rc" -ne 0 ] && [ "$rc" -lt 124 ]
ok $? "a symbolic link to itself: refused"
start first replicate "$db" "file://$replica"
first=$PID
wait_for 20 says first 'generation continues|new generation'
run walbrook replicate "$db" "file://$T/r2"
fails 9 "a second walbrook on the same database" "$db"
ln -s good.db "$T/link.db"
run walbrook replicate "$T/link.db" "file://$T/r2"
fails 9 "a second walbrook on another name of it" "$T/link.db: another walbrook"
kill -0 "$first"
ok $? "the first one goes on"
stop "$first"
is "$rc" 0 "and stops as it should"

LIMIT=60
note "configuration"
conf() { # the text on standard input as $T/c.yml; then walbrook replicate -config
  cat >"$T/c.yml"
  run walbrook replicate -config "$T/c.yml"
}
run walbrook replicate -config "$T/none.yml"
fails 3 "no such file" "$T/none.yml"
conf <<YML
dbs:
  - path: $T/a.db
    replica:
      - path: $T/ra
YML
fails 3 "an unknown key" "c\.yml:3:5" 'replica' 'replicas'
conf <<YML
dbs:
  - path: $T/a.db
    path: $T/b.db
YML
fails 3 "a key twice" "c\.yml:3:5" 'path'
conf <<YML
dbs:
  - path: $T/a.db
    replicas:
      - path: $T/ra
        sync-interval: 10
YML
fails 3 "a duration without a unit" "c\.yml:5:24" 'sync-interval' '10s'
conf <<YML
dbs: nonsense
YML
fails 3 "a wrong type" "c\.yml:1:6" 'dbs'
conf <<YML
dbs:
  - path: [
YML
fails 3 "not YAML" "c\.yml:[0-9]+:[0-9]+"
conf <<YML
dbs:
  - path: $T/a.db
    replicas: [path: $T/same]
  - path: $T/b.db
    replicas: [path: $T/same/]
YML
fails 3 "two databases on one replica path" "$T/same"
conf <<YML
dbs:
  - path: $T/a.db
    replicas: [path: $T/ra]
  - path: $T/x/../a.db
    replicas: [path: $T/rb]
YML
fails 3 "a database twice" "$T/a\.db" 'twice'
conf <<YML
dbs:
  - path: $T/a.db
    replicas: [path: $T/.a.db-litestream/backup]
YML
fails 3 "a replica inside the metadata directory" '\.a\.db-litestream'
conf <<YML
dbs:
  - path: $T/a.db
    replicas: [url: "ftp://host/x"]
YML
fails 3 "an unknown URL scheme" 'c\.yml:3:' 'ftp'
run walbrook restore -config "$T/good.yml" "$T/a.db"
fails 3 "restore with a configuration that is not there" "$T/good\.yml"
printf 'dbs:\n  - path: %s\n    replicas: [path: %s]\n' "$T/a.db" "$T/ra" >"$T/good.yml"
run walbrook restore -config "$T/good.yml" "$T/aa.db"
fails 3 "restore of a database that is not configured" "$T/aa\.db" "$T/a\.db"
run walbrook restore -config "$T/good.yml" -replica nas "$T/a.db"
fails 2 "restore from a replica that is not configured" 'nas' 'file'
is "$(ls -d "$T/ra" "$T/rb" "$T/same" "$T/r1" "$T/r2" 2>/dev/null)" "" "none of these made a replica"

note "permissions, as a user who is not root"
mkdir "$T/open" "$T/bin"
cp "$WALBROOK" "$T/bin/"
chmod 755 "$T" "$T/bin"
as=()
if [ "$(id -u)" -eq 0 ]; then
  chown 65534 "$T/open"
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
nobody() { # like run walbrook
  rc=0
  out=$("${as[@]}" timeout --foreground -k 5 60 "$T/bin/walbrook" "$@" </dev/null 2>&1) || rc=$?
}
"${as[@]}" mkdir "$T/open/unreadable" "$T/open/readonly"
"${as[@]}" sqlite3 "$T/open/unreadable/a.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
"${as[@]}" sqlite3 "$T/open/readonly/a.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
chmod 000 "$T/open/unreadable"
chmod 555 "$T/open/readonly"
nobody replicate "$T/open/unreadable/a.db" "file://$T/open/r"
fails 7 "a database in a directory that cannot be read" "$T/open/unreadable" '[Pp]ermission denied'
nobody replicate "$T/open/readonly/a.db" "file://$T/open/r"
fails 7 "a database in a read-only directory" "$T/open/readonly" '[Pp]ermission denied|read-only'
"${as[@]}" sqlite3 "$T/open/a.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
"${as[@]}" "$T/bin/walbrook" replicate "$T/open/a.db" "file://$T/open/readonly/r" </dev/null >"$T/readonly.log" 2>&1 &
pid=$!
PIDS+=("$pid")
wait_for 10 says readonly "$T/open/readonly/r.*[Pp]ermission denied"
ok $? "a replica in a read-only directory: the log names it, and why"
kill "$pid"
sleep 0.2
kill "$pid"
reap "$pid" 5
is "$rc" 10 "stopped before anything was shipped: exit code 10"
nobody restore -o "$T/open/x" "$T/open/unreadable"
fails 7 "a replica that cannot be read" "$T/open/unreadable" '[Pp]ermission denied'
nobody restore -if-replica-exists -o "$T/open/x" "$T/open/unreadable"
is "$rc" 7 "which is not the same as no backup"
chmod -R a+rX "$replica"
nobody restore -o "$T/open/readonly/x" "$replica"
fails 7 "output in a read-only directory" "$T/open/readonly" '[Pp]ermission denied'

done_testing
