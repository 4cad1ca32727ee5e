#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A primary and those that follow it, as daemons: the first copy, live transactions, restarts and kill -9 of each side,
# another generation by the pages that differ, a local writer, a chain with replicas, promotion, and the old primary that
# comes back. What each shows is compared as a dump.
. "${0%/*}/lib.sh"

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

dump_of() { # DATABASE
  sqlite3 -readonly -batch "$1" .dump 2>/dev/null | sha256sum
}

same() { # DATABASE DATABASE
  [ -e "$2" ] && [ "$(dump_of "$1")" = "$(dump_of "$2")" ]
}

same_soon() { # DATABASE DATABASE DESCRIPTION
  wait_for 20 same "$1" "$2"
  ok $? "$3"
}

add() { # DATABASE N: commits N rows, one by one
  local i
  for ((i = 0; i < $2; i++)); do
    echo "INSERT INTO t(b) VALUES(randomblob(3000));"
  done | sql "$1"
}

primary() { # starts it; sets $P
  start primary replicate -config "$T/primary.yml"
  P=$PID
}

follower() { # NAME PORT_OF_UPSTREAM PATH_THERE FLAG… [-- REPLICA…]: sets $PID
  local name=$1 port=$2 path=$3
  shift 3
  local flags=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  [ $# -eq 0 ] || shift
  start "$name" follow -socket "$T/$name.sock" ${flags[@]+"${flags[@]}"} "http://127.0.0.1:$port$path" "$T/$name/app.db" "$@"
}

state_is() { # NAME STATE
  "$WALBROOK" status -socket "$T/$1.sock" 2>/dev/null | grep -q " $2 "
}

app=$T/app.db port=$(free_port) port1=$(free_port)
mkdir "$T/one" "$T/two" "$T/other"
sql "$app" 'PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB);
  WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000) INSERT INTO t SELECT i, randomblob(900) FROM c' >/dev/null
cat >"$T/primary.yml" <<YML
addr: 127.0.0.1:$port
socket: $T/primary.sock
dbs:
  - path: $app
    replicas: [{path: $T/primary.replica}]
YML

note "a copy"
primary
follower one "$port" "$app" -addr "127.0.0.1:$port1" -- "file://$T/one.replica"
F1=$PID
same_soon "$app" "$T/one/app.db" "the first copy"
add "$app" 20
same_soon "$app" "$T/one/app.db" "transactions"
token=$("$WALBROOK" position -socket "$T/primary.sock" "$app")
run walbrook wait -socket "$T/one.sock" "$T/one/app.db" "$token"
is "$rc" 0 "wait: it is there"
sql "$app" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
add "$app" 3
sql "$app" 'VACUUM' >/dev/null
add "$app" 3
same_soon "$app" "$T/one/app.db" "VACUUM, and a WAL that was begun anew"
run sqlite3 "$T/one/app.db" 'INSERT INTO t(b) VALUES(1)'
like "$out" 'locked' "a local writer is refused while it is followed"
start second follow -socket "$T/second.sock" "http://127.0.0.1:$port$app" "$T/one/app.db"
second=$PID
wait_for 10 says second 'another walbrook'
ok $? "a second daemon on the same metadata is refused"
stop "$second"

note "stops"
kill -9 "$F1"
reap "$F1" 10
add "$app" 5
follower one "$port" "$app" -addr "127.0.0.1:$port1" -- "file://$T/one.replica"
F1=$PID
same_soon "$app" "$T/one/app.db" "killed and started again"
stop "$F1"
is "$rc" 0 "SIGTERM: exit code 0"
add "$app" 5
follower one "$port" "$app" -addr "127.0.0.1:$port1" -- "file://$T/one.replica"
F1=$PID
same_soon "$app" "$T/one/app.db" "stopped and started again"
kill -9 "$P"
reap "$P" 10
add "$app" 5
primary
same_soon "$app" "$T/one/app.db" "the primary was killed"

note "a local writer while nobody looks"
stop "$F1"
sql "$T/one/app.db" 'UPDATE t SET b=NULL WHERE id=17' >/dev/null
! same "$app" "$T/one/app.db"
ok $? "it has changed the copy"
follower one "$port" "$app" -addr "127.0.0.1:$port1" -- "file://$T/one.replica"
F1=$PID
same_soon "$app" "$T/one/app.db" "it is repaired"

note "a file copied over it"
sql "$T/stranger.db" 'CREATE TABLE stranger(a); INSERT INTO stranger VALUES(zeroblob(50000))'
cat "$T/stranger.db" >"$T/one/app.db"
same_soon "$app" "$T/one/app.db" "is noticed and repaired"
run sqlite3 "$T/one/app.db" 'PRAGMA wal_checkpoint; SELECT 1'
sleep 1.5
is "$(grep -c 'somebody wrote' "$T/one.log")" 1 "it is said; and a checkpoint of a reader is no such thing"

note "another generation: only what differs is sent"
stop "$P"
sql "$app" 'PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET b=randomblob(900) WHERE id%400=7; PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
: >"$T/one.log"
primary
same_soon "$app" "$T/one/app.db" "the new generation"
wait_for 10 says one 'the copy is complete'
like "$(cat "$T/one.log")" 'kind="pages that differ"' "pages that differ"
received=$(sed -n 's/.*msg="the copy is complete".* received=\([0-9]*\).*/\1/p' "$T/one.log" | tail -n 1)
[ "${received:-99999999}" -le $(($(stat -c %s "$app") * 15 / 1000 + 8 * 4096)) ]
ok $? "their bytes: ${received:-none} of $(stat -c %s "$app")"

note "readers of a group"
mkdir "$T/group"
chmod 2770 "$T/group"
mask=$(umask)
umask 077
follower group "$port" "${app%/*}/%61pp.db" # a URL: %61 is an a
F=$PID
umask "$mask"
same_soon "$app" "$T/group/app.db" "a copy in their directory"
is "$(stat -c %a "$T/group/app.db" "$T/group/app.db-wal" "$T/group/app.db-shm" | uniq)" 660 "is theirs, whatever the umask"
stop "$F"
run walbrook replicate "$T/group/app.db" "file://$T/group.replica"
is "$rc" 3 "a copy is no primary before it was promoted"
like "$out" 'is a copy that follows.*walbrook promote.*/walbrook/follow' "and it is said what to do"

note "another page size"
stop "$P"
sql "$app" 'PRAGMA journal_mode=delete; PRAGMA page_size=1024; VACUUM; PRAGMA journal_mode=wal' >/dev/null
primary
wait_for 20 eval '[ "$(sqlite3 "$T/one/app.db" "PRAGMA page_size")" = 1024 ]'
ok $? "a new file, with the new page size"
same_soon "$app" "$T/one/app.db" "the same content"

note "a chain, with replicas"
follower two "$port1" "$T/one/app.db" -- "file://$T/two.replica"
F2=$PID
same_soon "$app" "$T/two/app.db" "the second in the chain"
add "$app" 10
same_soon "$app" "$T/two/app.db" "transactions through the chain"
for who in one two; do
  run walbrook sync -socket "$T/$who.sock" -timeout 30s
  is "$rc" 0 "$who: sync"
  restores_to "$T/$who.replica" "$app"
  ok $? "$who: its replica restores to the source"
done
is "$(ls "$T/two.replica/generations" | tail -n 1)" "$(ls -t "$T/one.replica/generations" | head -n 1)" \
  "the generation passes through unchanged"

note "promotion"
stop "$P"
run walbrook promote -socket "$T/one.sock" "$T/one/app.db"
is "$rc" 0 "promote"
add "$T/one/app.db" 5
ok $? "it can be written"
same_soon "$T/one/app.db" "$T/two/app.db" "who followed it goes on with it"
like "$(cat "$T/one/.app.db-litestream/walbrook/lineage")" '^promoted ' "the lineage has a line more"
run walbrook promote -socket "$T/one.sock" "$T/one/app.db"
is "$rc" 6 "promoted twice: said"
stop "$F1"
follower one "$port" "$app" -addr "127.0.0.1:$port1" -- "file://$T/one.replica"
F1=$PID
wait_for 10 says one 'was promoted and is a primary'
ok $? "the next start does not follow again"
add "$T/one/app.db" 2
same_soon "$T/one/app.db" "$T/two/app.db" "and serves"

note "the old primary comes back"
stop "$F2"
primary
follower two "$port" "$app"
F2=$PID
wait_for 10 state_is two refused
ok $? "is refused"
like "$("$WALBROOK" status -socket "$T/two.sock")" 'older primary' "with the reason"
same "$T/one/app.db" "$T/two/app.db"
ok $? "what is there stays"
stop "$F2"
follower two "$port" "$app" -lineage any
F2=$PID
same_soon "$app" "$T/two/app.db" "-lineage any follows it"
stop "$F2"
run walbrook promote -socket "$T/none.sock" "$T/two/app.db"
is "$rc" 0 "promote without a daemon"
add "$T/two/app.db" 1
ok $? "it can be written, too"

note "what must not be replaced"
sql "$T/other/app.db" 'CREATE TABLE mine(a); INSERT INTO mine VALUES(1)'
follower other "$port" "$app"
O=$PID
wait_for 10 state_is other refused
ok $? "a database that no follower has written is refused"
stop "$O"
is "$(sqlite3 "$T/other/app.db" 'SELECT a FROM mine')" 1 "and left alone"
follower other "$port" "$app" -adopt
same_soon "$app" "$T/other/app.db" "-adopt replaces it"
run walbrook follow "http://127.0.0.1:$port"
is "$rc" 2 "follow without a database"
run walbrook follow ftp://x "$T/x.db"
is "$rc" 2 "follow with something that is no URL"

note "a plain server of 2022, which becomes a walbrook"
cat >"$T/plain.py" <<'PY'
import http.server, sys, time
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        if not self.path.startswith("/stream"): return self.send_error(404)
        self.send_response(200); self.send_header("Litestream-page-size", "1024"); self.end_headers()
        if "generation=" in self.path: return time.sleep(60) # there is nothing new
        data = open(sys.argv[1], "rb").read()
        for i in range(0, len(data), 777): self.wfile.write(data[i:i + 777])
        self.wfile.flush(); time.sleep(60)
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H); s.daemon_threads = True
print(s.server_address[1], flush=True); s.serve_forever()
PY
golden=$SOURCE/test/golden/live/page1024
python3 "$T/plain.py" "$golden/stream-scratch.bin" >"$T/plain.port" 2>/dev/null &
PIDS+=($!)
wait_for 10 test -s "$T/plain.port"
mkdir "$T/plain"
follower plain "$(cat "$T/plain.port")" /data/app.db
F=$PID
wait_for 20 says plain 'the copy is complete'
wait_for 10 eval '[ "$(sqlite3 "$T/plain/app.db" .dump | sha256sum)" = "$(sqlite3 -readonly "$golden/stream-scratch.expected.db" .dump | sha256sum)" ]'
is "$(sed -n 3p "$T/plain/.app.db-litestream/walbrook/lineage")" plain "it has a lineage of its own"
stop "$F"
follower plain "$(cat "$T/plain.port")" /data/app.db
F=$PID
wait_for 10 state_is plain following
ok $? "started again it follows, although nothing new comes"
stop "$F"
sqlite3 "$T/plain/app.db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
cmp "$T/plain/app.db" "$golden/stream-scratch.expected.db"
ok $? "its stream is followed byte for byte"
follower plain "$port" "$app"
F=$PID
same_soon "$app" "$T/plain/app.db" "the walbrook is followed, without -lineage any"
cmp "$T/plain/.app.db-litestream/walbrook/lineage" "$T/.app.db-litestream/walbrook/lineage"
ok $? "and its lineage is taken over"
stop "$F"
follower plain "$port1" "$T/one/app.db"
F=$PID
same_soon "$T/one/app.db" "$T/plain/app.db" "so who was promoted since is followed"
stop "$F"
follower plain "$port" "$app"
wait_for 10 state_is plain refused
ok $? "and the older primary refused"

done_testing
