#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# status and sync as somebody tries them for the first time: with a daemon, without one, at a wrong place, as another
# user, with a replica that fails, a gap, many databases, and clients that misbehave. And sync means it.
. "${0%/*}/lib.sh"

golden=$SOURCE/test/golden/transcripts

wal_db() { # DATABASE: made in WAL mode, with one row
  sql "$1" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1);' >/dev/null
}

# What differs from run to run becomes a word. Columns keep the width that they have on the screen only roughly.
plain() {
  sed -E -e "s#$T#DIR#g" -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g' -e 's/\b[0-9a-f]{16}\b/GENERATION/g' \
    -e 's/\b(pid|[Pp]rocess) [0-9]+/\1 PID/g' -e 's/\b[0-9]+(\.[0-9])?s\b/N s/g' -e 's/[0-9.]+ ms/N ms/g' \
    -e 's/[0-9.]+ (B|kB|MB)\b/SIZE/g' -e 's/\b[0-9]+ (tries|try)\b/N tries/g' -e 's/\b[0-9a-f]{8}:[0-9]+\b/POSITION/g' \
    -e 's/\b[0-9a-f]{8}_[0-9a-f]{8}\b/OBJECT/g' \
    -e 's/^(  checkpoints +)[0-9]+/\1N/' -e 's/ +$//' -e 's/  +/  /g'
}

transcript() { # NAME ARGUMENT…: what a person types and sees
  local name=$1
  shift
  run walbrook "$@"
  {
    printf '$ walbrook %s\n' "$(printf '%s' "$*" | sed "s#$T#DIR#g")"
    printf '%s\n' "$out" | plain
    printf '[exit status %d]\n\n' "$rc"
  } >>"$T/$name.txt"
}

compare() { # NAME
  if [ "${GOLDEN:-}" = write ]; then
    cp "$T/$1.txt" "$golden/$1.txt"
  fi
  diff -u "$golden/$1.txt" "$T/$1.txt" >"$T/$1.diff"
  ok $? "$1: the transcript is as it was" || note "$(cat "$T/$1.diff")"
}

answers() { # SOCKET: a daemon is there
  "$WALBROOK" status -socket "$1" >/dev/null 2>&1 || [ $? -eq 1 ]
}

lines() {
  printf '%s\n' "$1" | wc -l
}

note "nobody there"
wal_db "$T/app.db"
cat >"$T/walbrook.yml" <<E
socket: $T/control.sock
dbs:
  - path: $T/app.db
    replicas:
      - path: $T/near
      - name: far
        path: $T/far
        sync-interval: 1m
  - path: $T/later.db
    replicas:
      - path: $T/later.r
E
transcript status status -config "$T/walbrook.yml"
is "$rc" 4 "no daemon: exit status 4"
transcript status status -socket "$T/nowhere/x.sock"
transcript sync sync -config "$T/walbrook.yml"
is "$rc" 4 "no daemon: sync as well"
transcript status status -socket "$T/control.sock" one two
is "$rc" 2 "too many words: exit status 2"
run walbrook status -socket "$T/$(printf 'x%.0s' {1..120}).sock"
is "$rc" 7 "a path that is too long for a socket"

note "a daemon"
start d replicate -config "$T/walbrook.yml"
daemon=$PID
wait_for 10 answers "$T/control.sock"
ok $? "it answers"
is "$(stat -c %a "$T/control.sock")" 600 "only its owner's"
transcript sync sync -config "$T/walbrook.yml"
is "$rc" 0 "sync: everything is there"
replica_has "$T/near" 'SELECT count(*) FROM t' 1 && replica_has "$T/far" 'SELECT count(*) FROM t' 1
ok $? "and both replicas restore"
transcript status status -config "$T/walbrook.yml"
is "$rc" 0 "status: all is well"
longest=$(printf '%s\n' "$out" | head -n 4 | awk '{ if (length > n) n = length } END { print n }')
longest=$((longest - ${#T} + 12)) # as if it were /var/lib/app
[ "$longest" -le 100 ]
ok $? "it fits into 100 columns ($longest)"
transcript status status -config "$T/walbrook.yml" "$T/app.db"
transcript status status -config "$T/walbrook.yml" "$T/unknown.db"
is "$rc" 4 "a database that it does not know: exit status 4"
transcript sync sync -config "$T/walbrook.yml" -replica moon
is "$rc" 4 "a replica that there is not: exit status 4"
run walbrook sync -config "$T/walbrook.yml" -timeout 0s
is "$rc" 2 "no time at all: exit status 2"
run walbrook status -config "$T/walbrook.yml" -json
is "$(sqlite3 :memory: "SELECT json_valid('${out//\'/\'\'}'), json_array_length('${out//\'/\'\'}', '\$.databases'),
  json_extract('${out//\'/\'\'}', '\$.databases[0].replicas[1].name'),
  json_extract('${out//\'/\'\'}', '\$.databases[0].replicas[1].lag_seconds')")" "1|2|far|0" "JSON that others read"
cd "$T" && run walbrook status -config "$T/walbrook.yml" ./app.db
like "$out" "^$T/app.db" "a relative path is found"
cd "$SOURCE" || exit
run walbrook status -socket "$T/other.sock" "$T/app.db"
like "$out" "rocess $daemon replicates" "at the wrong place: it tells who replicates that database"

note "sync means it"
sync_round() { # N: a commit, sync, and a restore of what is there at this moment
  sql "$T/app.db" "INSERT INTO t VALUES($1)" &&
    "$WALBROOK" sync -config "$T/walbrook.yml" -replica far "$T/app.db" >"$T/sync.out" 2>&1 &&
    replica_has "$T/far" 'SELECT max(a) FROM t' "$1"
}
bad=0
for ((i = 2; i <= 101; i++)); do
  sync_round "$i" || { bad=$((bad + 1)) && note "round $i: $(cat "$T/sync.out")"; }
done
is "$bad" 0 "100 commits, each restored when sync had returned; the sync interval is a minute"
bad=0
for ((i = 102; i <= 106; i++)); do
  sql "$T/app.db" "INSERT INTO t VALUES($i)" &&
    "$WALBROOK" sync -config "$T/walbrook.yml" "$T/app.db" >/dev/null 2>&1 || bad=$((bad + 1))
  kill -9 "$daemon"
  wait "$daemon" 2>/dev/null
  replica_has "$T/near" 'SELECT max(a) FROM t' "$i" && replica_has "$T/far" 'SELECT max(a) FROM t' "$i" ||
    bad=$((bad + 1))
  if [ "$i" -eq 102 ]; then
    transcript status status -config "$T/walbrook.yml"
    is "$rc" 4 "a daemon that was killed: exit status 4"
  fi
  start d replicate -config "$T/walbrook.yml"
  daemon=$PID
  wait_for 10 answers "$T/control.sock" || bad=$((bad + 1))
done
is "$bad" 0 "the same with kill -9 as soon as it has returned; the socket left behind is replaced"

note "what others delete"
rm "$T"/far/generations/*/snapshots/*
run walbrook sync -config "$T/walbrook.yml" "$T/app.db"
is "$rc" 0 "the snapshots of a replica are gone: sync makes one"
replica_has "$T/far" 'SELECT max(a) FROM t' 106
ok $? "before it returns"
is "$(generations "$T/far")" "$(generations "$T/near")" "in the same generation"
rm -r "$T/far/generations"
run walbrook sync -config "$T/walbrook.yml" "$T/app.db"
is "$rc" 0 "everything is gone: a new generation"
replica_has "$T/far" 'SELECT max(a) FROM t' 106
ok $? "before it returns"

note "while a writer never pauses"
(
  exec 2>/dev/null
  while [ ! -e "$T/enough" ]; do
    for ((k = 0; k < 100; k++)); do echo "INSERT INTO t SELECT max(rowid) FROM t;"; done | sql "$T/app.db"
  done
) &
writer=$!
PIDS+=("$writer")
bad=0
for ((i = 0; i < 10; i++)); do
  there=$(sql "$T/app.db" 'SELECT max(rowid) FROM t')
  if ! "$WALBROOK" sync -config "$T/walbrook.yml" -replica far "$T/app.db" >"$T/sync.out" 2>&1 ||
    ! replica_has "$T/far" "SELECT max(rowid) >= $there FROM t" 1; then
    bad=$((bad + 1))
    note "$(cat "$T/sync.out")"
  fi
done
touch "$T/enough"
wait "$writer"
is "$bad" 0 "sync comes back, and what was committed before it is there"

note "a replica that fails"
mv "$T/far" "$T/far.away"
echo "not a directory" >"$T/far"
sql "$T/app.db" 'INSERT INTO t VALUES(200000)'
transcript sync sync -config "$T/walbrook.yml" -timeout 1s "$T/app.db"
is "$rc" 10 "sync: the deadline passes, exit status 10"
transcript status status -config "$T/walbrook.yml"
is "$rc" 1 "status: somebody is needed, exit status 1"
run walbrook sync -config "$T/walbrook.yml" -replica file "$T/app.db"
is "$rc" 0 "the other replica has it"
run walbrook sync -config "$T/walbrook.yml" -timeout 1s -json "$T/app.db"
is "$rc $(sqlite3 :memory: "SELECT json_extract('$(printf '%s' "$out" | grep -v '^walbrook: ' | sed "s/'/''/g")', '\$.databases[0].replicas[1].done')")" \
  "10 0" "JSON tells which one"
rm -f "$T/far"
mv "$T/far.away" "$T/far"
run walbrook sync -config "$T/walbrook.yml" "$T/app.db"
is "$rc" 0 "when it is back sync succeeds, without waiting for the next try"
replica_has "$T/far" 'SELECT max(a) FROM t' 200000
ok $? "and it restores"

note "a database that comes later, one that is broken"
wal_db "$T/later.db"
run walbrook sync -config "$T/walbrook.yml"
is "$rc" 0 "sync takes it in"
wait_for 10 replica_has "$T/later.r" 'SELECT count(*) FROM t' 1
ok $? "it is there"
stop "$daemon"
is "$rc" 0 "the daemon ends"
[ ! -e "$T/control.sock" ]
ok $? "and takes its socket with it"
head -c 8192 /dev/urandom >"$T/later.db"
touch -d '1 minute ago' "$T/later.db"
rm -f "$T/later.db-wal" "$T/later.db-shm"
start d replicate -config "$T/walbrook.yml"
daemon=$PID
wait_for 10 answers "$T/control.sock"
transcript sync sync -config "$T/walbrook.yml" "$T/later.db"
is "$rc" 5 "sync of what is not a database: exit status 5"
transcript status status -config "$T/walbrook.yml"
is "$rc" 1 "status says that it is broken"
like "$out" 'broken' "by name"

note "two daemons"
sed "s#$T/app.db#$T/second.db#; s#/near#/n2#; s#/far#/f2#; s#later#later2#g" "$T/walbrook.yml" >"$T/second.yml"
run walbrook replicate -config "$T/second.yml"
is "$rc" 9 "the key socket names a place where another daemon answers: exit status 9"
like "$out" "process $daemon answers there already" "it says which"
touch "$T/file"
run walbrook replicate -config "$T/second.yml" -socket "$T/file"
is "$rc" 6 "a file that is not a socket is left alone"
[ -f "$T/file" ]
ok $? "it is still there"
run walbrook replicate -config "$T/second.yml" -socket "$T/none/x.sock"
is "$rc" 3 "a directory that is not there"

note "other users"
if [ "$(id -u)" -ne 0 ] || ! setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null; then
  skipped 10 "only root can be somebody else"
else
  nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  # Others have a way to the program and to the socket, but not to the socket itself.
  there=$(mktemp -d "${TMPDIR:-/tmp}/walbrook-test-open.XXXXXX")
  chmod 711 "$there"
  cp "$WALBROOK" "$there/walbrook"
  chmod 755 "$there/walbrook"
  stop "$daemon"
  start d replicate -config "$T/walbrook.yml" -socket "$there/s.sock"
  daemon=$PID
  wait_for 10 answers "$there/s.sock"
  run "${nobody[@]}" "$there/walbrook" status -socket "$there/s.sock"
  is "$rc" 7 "the socket of another user: exit status 7"
  like "$out" 'belongs to user 0' "and whose it is"
  chmod 666 "$there/s.sock"
  run "${nobody[@]}" "$there/walbrook" status -socket "$there/s.sock"
  is "$rc" 7 "also when the mode was opened: the daemon looks who asks"
  like "$out" 'only the user that this daemon runs as' "and says so"
  mkdir -m 700 "$there/run" "$there/data"
  chown 65534:65534 "$there/run" "$there/data"
  XDG_RUNTIME_DIR=$there/run "${nobody[@]}" sqlite3 "$there/data/n.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
  XDG_RUNTIME_DIR=$there/run "${nobody[@]}" "$there/walbrook" replicate "$there/data/n.db" "file://$there/data/r" \
    >>"$T/nobody.log" 2>&1 </dev/null &
  PIDS+=("$!")
  first=$!
  wait_for 10 answers "$there/run/walbrook/control.sock"
  ok $? "without a key: in \$XDG_RUNTIME_DIR, and root may ask"
  is "$(stat -c %a "$there/run/walbrook")" 700 "in a directory of its own"
  out=$(XDG_RUNTIME_DIR=$there/run "${nobody[@]}" "$there/walbrook" sync "$there/data/n.db" 2>&1)
  is $? 0 "its owner finds it by itself" || note "$out"
  XDG_RUNTIME_DIR=$there/run "${nobody[@]}" "$there/walbrook" replicate "$there/data/m.db" "file://$there/data/rm" \
    >>"$T/taken.log" 2>&1 </dev/null &
  PIDS+=("$!")
  wait_for 10 says taken "another daemon has the usual control socket.*process $first answers"
  ok $? "a second daemon goes on without, and says who has it"
  kill -9 "$first"
  wait "$first" 2>/dev/null
  wait_for 25 says taken 'the usual control socket is free now'
  ok $? "until that one has ended: then it has it"
  answers "$there/run/walbrook/control.sock"
  ok $? "and answers there"
  kill "${PIDS[-1]}"
  wait "${PIDS[-1]}" 2>/dev/null
  stop "$daemon"
  rm -rf "$there"
  start d replicate -config "$T/walbrook.yml"
  daemon=$PID
  wait_for 10 answers "$T/control.sock"
fi

note "clients that misbehave"
misbehave() {
  python3 - "$T/control.sock" "$@" <<'E'
import socket, sys, time

def client():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    while True:
        try:
            s.connect(sys.argv[1])
            return s
        except BlockingIOError:  # the queue is full for a moment
            time.sleep(0.01)

def answer(s):
    got = b""
    try:
        while piece := s.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got.decode(errors="replace")

def ask(data):
    s = client()
    try:
        s.sendall(data)
    except ConnectionError:
        pass
    return answer(s)

what = sys.argv[2]
if what == "garbage":
    print(ask(b"\x00\xff\xfe nonsense\n").strip())
elif what == "long":
    print(ask(b"walbrook/1 status db=/" + b"x" * 100000).strip())
elif what == "version":
    print(ask(b"walbrook/2 status\n").strip())
elif what == "halves":
    s = client()
    for c in b"walbrook/1 status format=json\r\n":
        s.sendall(bytes([c]))
    s.shutdown(socket.SHUT_WR)
    print(answer(s).strip().splitlines()[-1])
elif what == "half-closed":
    s = client()
    s.sendall(b"walbrook/1 sync db=/%s\n" % sys.argv[3].encode().lstrip(b"/"))
    s.shutdown(socket.SHUT_WR)
    print(answer(s).strip().splitlines()[-1])
elif what == "many":
    crowd = [client() for _ in range(32)]
    time.sleep(0.2)
    print(ask(b"walbrook/1 status\n").strip().splitlines()[-1])
    for s in crowd:
        s.close()
elif what == "gone":
    for _ in range(200):
        s = client()
        try:
            s.sendall(b"walbrook/1 sync timeout-ms=600000\n")
        except ConnectionError:  # too many at once
            pass
        s.close()
E
}
like "$(misbehave garbage)" '^walbrook/1 2 a request begins with' "garbage"
like "$(misbehave long)" '^walbrook/1 2 the request is longer than 65536' "a line that does not end"
like "$(misbehave version)" '^walbrook/1 2 .*this daemon is walbrook' "another version"
like "$(misbehave halves)" '^walbrook/1 [01] ' "byte by byte"
like "$(misbehave half-closed "$T/app.db")" '^walbrook/1 0 done' "sync for somebody who has said all"
like "$(misbehave many)" '^walbrook/1 9 too many' "too many at once are told so"
wait_for 10 answers "$T/control.sock"
ok $? "and when they are gone it answers again"
misbehave gone
wait_for 10 answers "$T/control.sock"
ok $? "clients that hang up while they wait are forgotten"
stop "$daemon"

note "a stop while somebody waits"
rm -rf "$T/far"
echo "not a directory" >"$T/far"
start d replicate -config "$T/walbrook.yml"
daemon=$PID
wait_for 10 answers "$T/control.sock"
"$WALBROOK" sync -config "$T/walbrook.yml" "$T/app.db" >"$T/waits.out" 2>&1 &
waits=$!
PIDS+=("$waits")
sleep 0.3
kill "$daemon"
sleep 0.2
kill "$daemon"
reap "$waits" 20
is "$rc" 7 "exit status 7"
like "$(cat "$T/waits.out")" 'was stopped before everything was shipped|ended before its answer' "and why"
reap "$daemon" 20
rm -f "$T/far"

note "a gap"
if small_disk 6M; then
  mkdir "$T/disk/meta"
  wal_db "$T/gap.db"
  cat >"$T/gap.yml" <<E
socket: $T/gap.sock
dbs:
  - path: $T/gap.db
    meta-path: $T/disk/meta
    spool-quota: 1MiB
    replicas:
      - path: $T/gap.r
E
  start gap replicate -config "$T/gap.yml"
  wait_for 10 answers "$T/gap.sock"
  run walbrook sync -socket "$T/gap.sock"
  is "$rc" 0 "before it"
  rm -rf "$T/gap.r"
  echo "not a directory" >"$T/gap.r"
  in_gap() {
    sql "$T/gap.db" 'INSERT INTO t VALUES(hex(randomblob(300000)))'
    "$WALBROOK" status -socket "$T/gap.sock" 2>/dev/null | grep -q ' gap '
  }
  if wait_for 30 in_gap; then
    ok 0 "the spool is full: state gap"
    run walbrook status -socket "$T/gap.sock"
    is "$rc" 1 "somebody is needed"
    like "$out" 'nothing is captured now' "it says what that means"
    run walbrook sync -timeout 1s -socket "$T/gap.sock"
    is "$rc" 10 "sync does not succeed in a gap"
    rm -f "$T/gap.r"
    run walbrook sync -socket "$T/gap.sock"
    is "$rc" 0 "and waits until the new generation is there"
    replica_has "$T/gap.r" 'SELECT count(*) FROM t' "$(sql "$T/gap.db" 'SELECT count(*) FROM t')"
    ok $? "with everything"
  else
    ok 1 "the spool is full: state gap"
  fi
  stop "$PID"
else
  skipped 7 "no small disk here"
fi

note "many databases"
mkdir "$T/many"
{
  echo "socket: $T/many.sock"
  echo "dbs:"
  for ((i = 0; i < 300; i++)); do
    printf '  - path: %s/many/%03d.db\n    replicas: [ { path: %s/many/%03d.r } ]\n' "$T" "$i" "$T" "$i"
  done
} >"$T/many.yml"
wal_db "$T/many/000.db"
for ((i = 1; i < 300; i++)); do
  cp "$T/many/000.db" "$T/many/$(printf %03d "$i").db"
done
start many replicate -config "$T/many.yml"
wait_for 20 answers "$T/many.sock"
run walbrook sync -socket "$T/many.sock"
is "$rc" 0 "sync of 300 that have just been met"
run walbrook status -socket "$T/many.sock"
is "$(lines "$out")" 301 "a line for each and the titles"
run walbrook status -socket "$T/many.sock" -json
printf '%s\n' "$out" >"$T/many.json"
is "$(sqlite3 :memory: "SELECT count(*) FROM json_each(CAST(readfile('$T/many.json') AS TEXT), '\$.databases') WHERE value->>'\$.replicas[0].restorable' = 1")" \
  300 "JSON of all, in pieces"
stop "$PID"
is "$rc" 0 "and an end"

compare status
compare sync
done_testing
