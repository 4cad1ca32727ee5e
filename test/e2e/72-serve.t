#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The server of the live stream, asked by curl and by a client of our own in Python (serve.py): what it answers, to
# whom, what it keeps, and that nobody who is slow is in the way of anybody.
. "${0%/*}/lib.sh"

db=$T/a.db
serve() { python3 "$SOURCE/test/e2e/serve.py" "$@"; }
conf() { # [LINE…]: keys at the top level
  {
    printf '%s\n' 'addr: 127.0.0.1:0' "socket: $T/control.sock" "$@" 'dbs:' "  - path: $db" '    replicas:' "      - path: $T/r"
    printf '        sync-interval: 10ms\n'
    printf '  - path: %s\n' "$T/none.db"
  } >"$T/walbrook.yml"
}
begin() { # NAME
  start "$1" replicate -config "$T/walbrook.yml"
  wait_for 20 says "$1" 'serving metrics on' || return
  url=$(sed -n 's,.*serving metrics on" url=\(http[^ ]*\)/metrics.*,\1,p' "$T/$1.log" | tail -n 1)
}
get() { # PATH [CURL FLAG…]: sets $out, body and status
  out=$(curl -sS -m 20 "${@:2}" -w '%{http_code}' "$url$1" 2>&1)
}
count() { sql "$1" 'SELECT count(*) FROM t'; }
same() { # DATABASE: it is what the primary has
  [ "$(sql "$1" 'PRAGMA integrity_check; SELECT count(*), total(length(b)) FROM t')" = \
    "$(sql "$db" 'PRAGMA integrity_check; SELECT count(*), total(length(b)) FROM t')" ]
}
more() { # ROWS
  local i
  for ((i = 0; i < $1; i++)); do echo "INSERT INTO t(b) VALUES(hex(randomblob(300)));"; done |
    sqlite3 -batch -cmd '.timeout 10000' "$db" >/dev/null
}
spooled() { find "$T/.a.db-litestream/walbrook/spool" -name '*.lz4' | wc -l; }

sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b);' >/dev/null
more 300
conf
begin one
wait_for 20 says one 'snapshot written'

note "what it answers"
get /stream
is "$out" $'Database name required\n400' "no path"
get '/stream?path=/no/such.db'
is "$out" $'Database not found\n404' "a database that is not replicated here"
get "/stream?path=$db&generation=0123456789abcdef&index=zz"
is "$out" $'Invalid index query parameter\n400' "an index that is no number"
get "/stream?path=$db" -X PUT
is "$out" $'Method not allowed\n405' "another method"
get /other
is "$out" $'404 page not found\n404' "another path"
get "/stream?path=$T/none.db"
is "$out" $'No generation available\n503' "a database that is not there yet"

note "plain"
(sleep 1 && more 20) &
later=$!
head=$(curl -sS -m 5 -N -D - -o "$T/plain.bin" "$url/stream?path=$db" 2>/dev/null)
wait "$later"
like "$head" '^HTTP/1.1 200' "a stream begins"
like "$head" '^Litestream-page-size: 4096' "with the page size"
serve follow "$url/stream?path=$db" "$T/plain.db" 320
same "$T/plain.db"
ok $? "a client of 2022 has what the primary has"

note "extended"
serve follow "$url/stream?path=$db&txn=1" "$T/copy.db" sum >"$T/place"
ok $? "the content agrees with its check"
same "$T/copy.db"
ok $? "and is what the primary has"
serve follow "$url/stream?path=$db&txn=1" "$T/lz4.db" lz4 && same "$T/lz4.db"
ok $? "also compressed"
is "$(serve types "$url/stream?path=$db&txn=1&$(cat "$T/place")" 2)" "20 17" "who has everything and shows it gets nothing but a heartbeat"
like "$(serve types "$url/stream?path=$db&txn=1&$(sed 's/sum=.*/sum=0123456789abcdef/' "$T/place")" 3)" '^20 21 19' \
  "who has something else at that position gets content"
like "$(serve types "$url/stream?path=$db&txn=1&$(sed 's/=[0-9a-f]*/=0123456789abcdef/' "$T/place")" 3)" '^20 21 19' \
  "as does who comes from another generation"
more 10
like "$(serve types "$url/stream?path=$db&txn=1&$(cat "$T/place")" 3)" '^20 16 2' "who comes back is sent what is new"
cp "$T/copy.db" "$T/old.db"
like "$(serve differ "$url/stream?path=$db" "$T/old.db" "$T/new.db")" '^[0-9]+ [0-9]+$' "hashes, then only the pages that differ"
same "$T/new.db"
ok $? "which make the whole"

note "the spool"
before=$(spooled)
[ "$before" -gt 0 ]
ok $? "segments of the current index stay for followers"
wait_for 10 replica_has "$T/r" 'SELECT count(*) FROM t' 330
ok $? "replicas are not disturbed"

note "who is slow"
serve stuck "$url/stream?path=$db&txn=1" 30 >"$T/stuck" &
serve stuck "$url/stream?path=$db&txn=1" 30 1 >"$T/slow" &
serve stuck "$url/stream?path=$db" 30 >"$T/stuck2" &
wait_for 10 test -s "$T/stuck" -a -s "$T/slow" -a -s "$T/stuck2"
for _ in 1 2 3 4 5; do
  more 200
  sql "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
done
serve follow "$url/stream?path=$db&txn=1" "$T/beside.db" && same "$T/beside.db"
ok $? "is not in the way of others"
wait_for 10 replica_has "$T/r" 'SELECT count(*) FROM t' 1330
ok $? "nor of replicas"

note "the end"
came=$(grep -c 'follower has come' "$T/one.log")
another() { [ "$(grep -c 'follower has come' "$T/one.log")" -gt "$came" ]; }
serve follow "$url/stream?path=$db&txn=1" "$T/last.db" 9999 >"$T/end" 2>&1 &
waiting=$!
wait_for 20 another
sleep 1
sql "$db" 'INSERT INTO t(b) VALUES(1)'
stop "$PID"
is "$rc" 0 "a stop with followers"
wait "$waiting"
like "$(cat "$T/end")" 'END the primary stops' "tells them"
same "$T/last.db"
ok $? "and they have the last commit"
is "$(spooled)" 0 "nothing is left in the spool"

note "a generation that ends"
begin two
wait_for 20 says two 'generation='
serve follow "$url/stream?path=$db&txn=1" "$T/over.db" 99999 >"$T/over" 2>&1 &
waiting=$!
wait_for 10 says two 'follower has come'
sleep 1
sqlite3 "$T/b.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, 1)' >/dev/null
rm -f "$db" "$db-wal" "$db-shm"
sqlite3 "$T/b.db" "VACUUM INTO '$db'"
wait "$waiting"
like "$(cat "$T/over")" 'END a new generation has begun' "is told"
wait_for 20 serve follow "$url/stream?path=$db&txn=1" "$T/over.db" && same "$T/over.db"
ok $? "and who comes back has the new content"
stop "$PID"

note "who may"
head -c 24 /dev/urandom | base64 >"$T/token"
chmod 600 "$T/token"
conf "token-file: $T/token"
begin three
wait_for 20 says three 'generation='
get "/stream?path=$db"
like "$out" '401$' "without the token: 401"
like "$(curl -sS -m 5 -i "$url/stream?path=$db")" 'WWW-Authenticate: Basic' "a browser may ask its user"
get "/hashes?path=$db" -H "Authorization: Bearer wrong-token-of-some-length"
like "$out" '401$' "with another one: 401"
get "/hashes?path=$db" -o /dev/null -H "Authorization: Bearer $(cat "$T/token")"
is "$out" 200 "Bearer"
get "/hashes?path=$db" -o /dev/null -u "anybody:$(cat "$T/token")"
is "$out" 200 "Basic"
get "/stream?path=$db&generation=0123456789abcdef&index=0&txn=1" --data-binary "@$SOURCE/VERSION"
like "$out" '401$' "a body is not read from who has no access"
get /healthz
like "$out" '200$' "health is open"
[ "$(grep -cF "$(cat "$T/token")" "$T/three.log")" = 0 ]
ok $? "the token is in no log"
stop "$PID"

note "TLS"
key() { # NAME: of an authority, and one that it has signed
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" -keyout "$T/$1.key" \
    -out "$T/$1.pem" -addext "subjectAltName=IP:127.0.0.1" 2>/dev/null
}
if key server && key client; then
  conf "tls-cert-file: $T/server.pem" "tls-key-file: $T/server.key" "tls-client-ca-file: $T/client.pem"
  begin four
  like "$url" '^https' "it speaks HTTPS"
  get /healthz --cacert "$T/server.pem"
  like "$out" '403$|handshake|certificate' "not without a certificate of the client"
  get /healthz --cacert "$T/server.pem" --cert "$T/server.pem" --key "$T/server.key"
  like "$out" '403$|handshake|certificate' "nor with another one"
  get /healthz --cacert "$T/server.pem" --cert "$T/client.pem" --key "$T/client.key"
  like "$out" '200$' "with it"
  curl -sS -m 3 -N --cacert "$T/server.pem" --cert "$T/client.pem" --key "$T/client.key" -o "$T/tls.bin" \
    "$url/stream?path=$db&txn=1" 2>/dev/null
  is "$(head -c 4 "$T/tls.bin" | xxd -p)" 00000014 "a stream comes over it"
  stop "$PID"
else
  skipped 5 "openssl cannot make certificates here"
fi

done_testing
