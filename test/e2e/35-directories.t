#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Databases of whole directories: patterns, directories with and without those below, files that appear, vanish and
# come back while the daemon runs, and the configuration read again. What was shipped must restore each time.
. "${0%/*}/lib.sh"

wal_db() { # DATABASE [ROWS]: made in WAL mode, with rows
  mkdir -p "${1%/*}"
  sql "$1" "PRAGMA journal_mode=wal; CREATE TABLE t(a);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${2:-1}) INSERT INTO t SELECT i FROM n" \
    >/dev/null
}

add() { # DATABASE: one more row
  sql "$1" 'INSERT INTO t VALUES(1)'
}

has() { # REPLICA ROWS: within a while
  wait_for 30 replica_has "$1" 'SELECT count(*) FROM t' "$2"
}

let_go() { # NAME DATABASE [TIMES]: the log says so
  [ "$(grep -c "msg=\"database is let go\" db=$2\$" "$T/$1.log")" -ge "${3:-1}" ]
}

reread() { # NAME PID TIMES: SIGHUP, until it has been read for the nth time
  kill -HUP "$2"
  wait_for 10 reread_times "$1" "$3"
}

reread_times() {
  [ "$(grep -c 'msg="configuration read again"' "$T/$1.log")" -ge "$2" ]
}

note "patterns and directories"
d=$T/data
wal_db "$d/a.db" 3
wal_db "$d/b.db" 4
wal_db "$d/tenants/x/app.db" 5
wal_db "$d/tenants/y/app.db" 6
wal_db "$d/tenants/y/deep/er.db" 7
wal_db "$d/tenants/y/other.sqlite" 8
echo 'not a database at all, but long enough to look like a file of some kind; the header is what counts here.' \
  >"$d/c.db"
cp "$d/a.db" "$d/a.db.tmp"
cat >"$T/w.yml" <<END
dbs:
  - path: $d/*.db
    replicas: [{ path: $T/r/top }]
  - dir: $d/tenants
    pattern: '*.db'
    recursive: true
    replicas: [{ path: $T/r/tenants }]
END
start one replicate -config "$T/w.yml"
one=$PID
has "$T/r/top/a.db" 3 && has "$T/r/top/b.db" 4
ok $? "path with a pattern: each has its own place below the replica's path"
has "$T/r/tenants/x/app.db" 5 && has "$T/r/tenants/y/app.db" 6 && has "$T/r/tenants/y/deep/er.db" 7
ok $? "dir, pattern, recursive: so do those in directories below"
[ ! -e "$T/r/tenants/y/other.sqlite" ] && [ ! -e "$T/r/top/c.db" ] && [ ! -e "$d/.c.db-litestream" ] &&
  [ ! -e "$T/r/top/a.db.tmp" ]
ok $? "what does not fit, has no header or is temporary is left alone"
add "$d/a.db"
has "$T/r/top/a.db" 4
ok $? "they are replicated like any other"

note "appearing"
wal_db "$T/outside.db" 9
mv "$T/outside.db" "$d/moved.db"
has "$T/r/top/moved.db" 9
ok $? "a database that is moved there"
: >"$d/empty.db"
sleep 0.2
[ ! -s "$d/empty.db" ] && [ ! -e "$d/.empty.db-litestream" ]
ok $? "an empty file is waited for, and not touched"
wal_db "$d/empty.db" 2
has "$T/r/top/empty.db" 2
ok $? "until it is a database"
wal_db "$d/tenants/z/new/app.db" 11
has "$T/r/tenants/z/new/app.db" 11
ok $? "in a directory that is new as well"
cp "$d/b.db" "$d/copy.db"
has "$T/r/top/copy.db" 4
ok $? "a copy made on the spot"
head -c 5000 "$d/b.db" >"$d/growing.db"
sleep 0.5
tail -c +5001 "$d/b.db" >>"$d/growing.db"
has "$T/r/top/growing.db" 4
ok $? "a copy that takes its time counts when all of it is there"
mkdir "$T/elsewhere"
wal_db "$T/elsewhere/one.db" 12
mv "$T/elsewhere" "$d/tenants/arrived"
has "$T/r/tenants/arrived/one.db" 12
ok $? "a whole directory that is moved there"

note "vanishing, and coming back"
add "$d/b.db"
rm "$d/b.db" "$d/b.db"-*
wait_for 20 let_go one "$d/b.db"
ok $? "a database that is deleted is let go"
replica_has "$T/r/top/b.db" 'SELECT count(*) FROM t' 5
ok $? "its replica is left alone and has its last commit"
is "$(ls -l "/proc/$one/fd" | grep -c "$d/b.db")" 0 "nothing of it is open any more"
before=$(generations "$T/r/top/b.db")
wal_db "$d/b.db" 20
has "$T/r/top/b.db" 20
ok $? "it comes back as another file, and is replicated again"
[ "$(generations "$T/r/top/b.db")" -gt "$before" ]
ok $? "in a new generation"
mv "$d/tenants/x" "$T/x.away"
wait_for 20 let_go one "$d/tenants/x/app.db"
ok $? "a directory that is moved away takes its databases along"
mv "$T/x.away" "$d/tenants/x"
add "$d/tenants/x/app.db"
has "$T/r/tenants/x/app.db" 6
ok $? "and brings them back"

note "read again"
cp "$T/w.yml" "$T/good.yml"
printf 'dbs:\n  - path: %s\n    replicas: [{ path: /x, sync-intervall: 1s }]\n' "$d/a.db" >"$T/w.yml"
kill -HUP "$one"
wait_for 10 says one "configuration cannot be used.*w.yml:3:.*sync-intervall"
ok $? "an invalid file is refused with line and column"
add "$d/a.db"
has "$T/r/top/a.db" 5
ok $? "and the configuration before it stays in force"
wal_db "$T/named/n.db" 30
add "$d/moved.db"
has "$T/r/top/moved.db" 10
cat >"$T/w.yml" <<END
socket: $T/elsewhere.sock
logging: { level: debug }
dbs:
  - path: $d/*.db
    replicas: [{ path: $T/r/top }]
  - path: $T/named/n.db
    replicas: [{ path: $T/r/named }]
  - path: $d/a.db
    replicas: [{ path: $T/r/top/a.db }, { path: $T/r/second, name: second }]
  - path: $d/moved.db
    checkpoint-interval: 2m
    replicas: [{ path: $T/r/top/moved.db, retention: 72h }]
END
reread one "$one" 1
ok $? "a valid one is taken"
like "$(grep 'configuration read again' "$T/one.log")" 'unchanged=[1-9].* added=1 changed=2 removed=[1-9]' \
  "the log counts what has changed"
says one 'takes effect only with the next start.* key=socket'
ok $? "and names what needs another start"
has "$T/r/named" 30
ok $? "a database that was added"
has "$T/r/second" 5
ok $? "a replica that was added"
wait_for 20 let_go one "$d/tenants/x/app.db" 2
ok $? "an entry that was removed is let go"
add "$d/tenants/x/app.db"
add "$d/a.db"
has "$T/r/second" 6 && has "$T/r/top/a.db" 6
ok $? "both replicas get on"
add "$d/moved.db"
has "$T/r/top/moved.db" 11
ok $? "and the one whose settings have changed"
is "$(generations "$T/r/top/moved.db")" 1 "which is in the same generation"
is "$(grep -c "msg=\"database is let go\" db=$d/empty.db\$" "$T/one.log")" 0 "what has not changed was not touched"
says one 'level=DEBUG'
ok $? "the level of the log has changed"
replica_has "$T/r/tenants/x/app.db" 'SELECT count(*) FROM t' 6
ok $? "what was removed is as it was when it was let go"
cp "$T/good.yml" "$T/w.yml"
reread one "$one" 2
has "$T/r/tenants/x/app.db" 7
ok $? "and goes on when it is there again"
add "$d/a.db"
has "$T/r/top/a.db" 7
ok $? "a named database becomes one of its directory"

note "the end"
for i in "$d"/*.db "$d"/tenants/*/app.db; do
  [ "$i" = "$d/c.db" ] || add "$i"
done
stop "$one"
is "$rc" 0 "it stops with everything shipped"
bad=0
for i in a b moved empty copy growing; do
  restores_to "$T/r/top/$i.db" "$d/$i.db" || bad=1
done
for i in x/app y/app y/deep/er z/new/app arrived/one; do
  restores_to "$T/r/tenants/$i.db" "$d/tenants/$i.db" || bad=1
done
ok "$bad" "each restores from its own place"

note "nothing there yet"
cat >"$T/w.yml" <<END
socket: $T/two.sock
dbs:
  - dir: $T/later/on
    pattern: '*.db'
    replicas: [{ path: $T/r/later }]
END
start two replicate -config "$T/w.yml"
two=$PID
wait_for 10 says two 'directory is not there yet'
ok $? "a directory that is not there yet is waited for"
wal_db "$T/later/on/l.db" 3
has "$T/r/later/l.db" 3
ok $? "and found when it comes"
rm -r "$T/later"
wait_for 20 let_go two "$T/later/on/l.db"
wal_db "$T/later/on/l.db" 13
has "$T/r/later/l.db" 13
ok $? "also when it comes again"
run walbrook reload -socket "$T/two.sock"
is "$rc" 0 "walbrook reload does what SIGHUP does" || note "$out"
says two 'configuration read again'
ok $? "which the log says"
echo 'dbs: [' >"$T/w.yml"
run walbrook reload -socket "$T/two.sock"
is "$rc" 3 "and answers with the fault of a file that is not valid" || note "$out"
stop "$two"
is "$rc" 0 "and it ends well"

note "a name that looks like a pattern"
mkdir "$T/odd"
wal_db "$T/odd/a[1].db"
wal_db "$T/odd/a1.db"
printf 'dbs:\n  - path: %s\n    replicas: [{ path: %s }]\n' "$T/odd/a[1].db" "$T/r/odd" >"$T/odd.yml"
run walbrook config -config "$T/odd.yml"
is "$rc:$(grep -c 'pattern' <<<"$out")" 0:0 "a file of just this name is meant" || note "$out"
start odd replicate -config "$T/odd.yml"
odd=$PID
has_generation() { [ -d "$T/r/odd/generations" ]; }
wait_for 20 has_generation
ok $? "it is replicated to the place as it stands"
stop "$odd"
is "$(ls "$T/r/odd")" generations "and nothing else is"
rm "$T/odd/a[1].db"*
run walbrook config -config "$T/odd.yml"
printf '%s\n' "$out" >"$T/odd2.yml"
start odd replicate -config "$T/odd.yml"
odd=$PID
wait_for 20 test -d "$T/r/odd/a1.db/generations"
ok $? "without it, it is a pattern"
stop "$odd"

note "databases shows what an entry has"
printf 'dbs:\n  - path: %s\n    replicas: [{ path: %s }]\n' "$T/odd/*.db" "$T/r/odd" >"$T/odd.yml"
run walbrook databases -config "$T/odd.yml"
is "$rc:$(awk 'NR > 1 { print $1 }' <<<"$out" | tr '\n' ' ')" "0:$T/odd/*.db $T/odd/a1.db " "behind its pattern" || note "$out"
run walbrook databases -json -config "$T/odd.yml"
is "$(python3 -c 'import json, sys; print([(d["pattern"], d["entry"], d["replicas"][0]["path"]) for d in json.load(sys.stdin)])' <<<"$out")" \
  "[(True, None, '$T/r/odd'), (False, '$T/odd/*.db', '$T/r/odd/a1.db')]" "and in JSON"

note "from the command line"
start three replicate "$d/a.db" "file://$T/r/three"
three=$PID
has "$T/r/three" 8
kill -HUP "$three"
wait_for 10 says three 'nothing to read again.*command line'
ok $? "SIGHUP says that there is nothing to read"
stop "$three"
is "$rc" 0 "and changes nothing"

note "idle"
if command -v strace >/dev/null; then
  for ((i = 0; i < 40; i++)); do wal_db "$T/idle/$i.db"; done
  # Its own socket: at the usual one each daemon of another test that starts asks who is there.
  printf 'socket: %s\ndbs:\n  - path: %s\n    replicas: [{ path: %s }]\n' "$T/idle.sock" "$T/idle/*.db" "$T/r/idle" >"$T/w.yml"
  start idle replicate -config "$T/w.yml"
  idle=$PID
  settled() { [ "$(grep -c 'msg="snapshot written"' "$T/idle.log")" -eq 40 ]; }
  wait_for 30 settled
  sleep 4 # it rests two seconds after the last change
  timeout -s INT 12 strace -qq -f -c -o "$T/calls" -p "$idle" 2>/dev/null
  calls=$(awk '$NF == "total" { print $4 }' "$T/calls")
  note "$(awk 'NR > 2 && $4 ~ /^[0-9]+$/ { printf "%s %s, ", $NF, $4 }' "$T/calls")"
  note "system calls in 12 s with 40 idle databases: ${calls:-none}"
  # a look a second is one call; a job of the sweep every 5 s is some ten, and three for each of its databases
  [ -n "$calls" ] && [ "$calls" -gt 5 ] && [ "$calls" -lt 150 ]
  ok $? "idle databases cost next to nothing"
  stop "$idle"
  is "$rc" 0 "and it ends well"
else
  skipped 2 "no strace"
fi
done_testing
