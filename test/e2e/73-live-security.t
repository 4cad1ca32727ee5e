#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Who may have what from `addr`, and what a bad client can do to it: tokens, other machines, TLS with certificates made
# here, headers without an end, too many connections, paths that are not configured; and that no token is ever shown.
. "${0%/*}/lib.sh"

live=$SOURCE/test/live
db=$T/p.db
python3 "$live/load.py" make "$db" 4096 0
token=correct-horse-battery-staple-$RANDOM$RANDOM
printf '%s\n' "$token" >"$T/token"
chmod 600 "$T/token"
# An address of this machine that is not loopback: what comes from it looks like another machine.
other=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -Ex '[0-9]+(\.[0-9]+){3}' | head -n 1)

conf() { # ADDR [LINE…]
  {
    printf 'addr: "%s"\nsocket: %s\n' "$1" "$T/p.sock"
    printf '%s\n' "${@:2}"
    printf 'dbs:\n  - path: %s\n    replicas:\n      - path: %s\n' "$db" "$T/replica"
  } >"$T/p.yml"
}
serving() {
  url=$(sed -n 's,.*url=\(https\{0\,1\}://[^ /]*\).*,\1,p' "$T/p.log" | tail -n 1)
  [ -n "$url" ] || return 1
  port=${url##*:}
}
begin() { # ADDR [LINE…]: sets $primary, $url, $port
  conf "$@"
  : >"$T/p.log"
  start p replicate -config "$T/p.yml"
  primary=$PID
  wait_for 20 serving && wait_for 20 says p 'generation' || exit 1
}
quoted=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$db")
code() { # URL [CURL FLAG…]: the status; 000: no answer. A stream is left after a second
  local got
  got=$(curl -sS -g -m 2 -o "$T/body" -D "$T/head" -w '%{http_code}' "${@:2}" "$1" 2>"$T/curl.err")
  printf '%s' "${got:-000}"
}
codes() { # BASE [CURL FLAG…]: of everything that is served
  local what all=
  for what in "/stream?path=$quoted" "/stream?path=$quoted&txn=1" "/hashes?path=$quoted" "/position?path=$quoted" \
    "/wait?path=$quoted&position=0123456789abcdef/00000000:0&timeout=1s" /status / /metrics /healthz; do
    all="$all $(code "$1$what" "${@:2}")"
  done
  printf '%s' "${all# }"
}

note "without a token"
begin 127.0.0.1:0
is "$(codes "$url")" "200 200 200 200 409 200 200 200 200" "this machine has everything"
for name in localhost app.localhost '[::1]' db "$(hostname)"; do
  is "$(code "$url/status" -H "Host: $name:$port")" 200 "by the name $name too"
done
is "$(codes "$url" -H "Host: stranger.example:$port")" "403 403 403 403 403 403 403 200 200" \
  "a page in a browser whose own name leads to this machine: nothing"
like "$(code "$url/status" -H 'Host: 127.0.0.1.stranger.example'; cat "$T/body")" '403.*token-file.*open-to-all' \
  "and the refusal says what to do"
stop "$primary"
begin 127.0.0.1:0 'open-to-all: true'
is "$(code "$url/status" -H "Host: stranger.example:$port")" 200 "with open-to-all any name will do"
stop "$primary"
if [ -n "$other" ]; then
  begin "0.0.0.0:0"
  is "$(codes "http://$other:$port")" "403 403 403 403 403 403 403 200 200" \
    "other machines: metrics and health, nothing else"
  like "$(code "http://$other:$port/status"; cat "$T/body")" 'token' "and the refusal says what is missing"
  is "$(code "http://127.0.0.1:$port/status")" 200 "this machine still has it"
  is "$(code "http://127.0.0.1:$port/status" -H 'X-Forwarded-For: 10.0.0.1')" 200 "no header changes that"
  is "$(code "http://$other:$port/status" -H 'X-Forwarded-For: 127.0.0.1' -H 'Forwarded: for=127.0.0.1' -H 'Host: localhost')" \
    403 "neither way"
  stop "$primary"
  begin "0.0.0.0:0" 'open-to-all: true'
  is "$(codes "http://$other:$port")" "200 200 200 200 409 200 200 200 200" "open-to-all: everybody has everything"
  stop "$primary"
else
  skipped 6 "this machine has no other address"
fi

note "with a token"
begin "0.0.0.0:0" "token-file: $T/token"
for base in "http://127.0.0.1:$port" ${other:+"http://$other:$port"}; do
  is "$(codes "$base")" "401 401 401 401 401 401 401 200 200" "${base%:*}: none, 401"
  like "$(tr -d '\r' <"$T/head")" '.' "it answers"
  is "$(codes "$base" -H 'Authorization: Bearer wrong')" "401 401 401 401 401 401 401 200 200" "a wrong one"
  is "$(codes "$base" -H "Authorization: Bearer $token")" "200 200 200 200 409 200 200 200 200" "the right one"
  is "$(codes "$base" -u "anybody:$token")" "200 200 200 200 409 200 200 200 200" "as the password of Basic"
done
[ -n "$other" ] || skipped 5 "this machine has no other address"
code "$url/status" >/dev/null
like "$(tr -d '\r' <"$T/head")" '^[Ww][Ww][Ww]-[Aa]uthenticate: .*[Bb]asic' "a browser is told to ask for it"
bad=
for header in "Bearer ${token}x" "Bearer ${token%?}" "Bearer" "Bearer " "bearer" "$token" "Basic $token" "Basic !!!!" "Basic" \
  "Basic $(printf 'a:%sx' "$token" | base64 -w 0)" "Basic $(printf '%s' "$token" | base64 -w 0)" "Bearer $token $token" \
  "Basic $(printf '%s:' "$token" | base64 -w 0)" "Digest $token" "Bearer $(head -c 3000 /dev/zero | tr '\0' a)"; do
  c=$(code "$url/status" -H "Authorization: $header")
  [ "$c" = 401 ] || bad="$bad $c for ${header:0:40};"
done
is "$bad" "" "nothing else that looks like it lets anybody in"
is "$(code "$url/status?token=$token")$(code "$url/status?authorization=Bearer%20$token")" 401401 "nor is it read from a URL"
is "$(code "$url/status" -H "Authorization: Bearer wrong" -H "Authorization: Bearer $token")" 401 "nor from a second header"
is "$(code "$url/stream?path=/no/such.db")$(code "$url/stream")" 401401 "who has none is not told which databases there are"

note "databases that are not configured"
auth=(-H "Authorization: Bearer $token")
cp "$db" "$T/secret.db"
bad=
for path in "$T/secret.db" "$T/x/../p.db" "$T//p.db" "$T/./p.db" "../..$db" "p.db" "$db/" "$db-wal" "$T/.p.db-litestream/generation" \
  "/etc/passwd" "/proc/self/environ" "file:$db" "$T/token"; do
  q=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$path")
  for what in stream hashes position; do
    c=$(code "$url/$what?path=$q" "${auth[@]}")
    [ "$c" = 404 ] || bad="$bad $c for $what of $path;"
  done
done
is "$bad" "" "404 for every other path, and for every other spelling"
is "$(code "$url/../../etc/passwd" --path-as-is "${auth[@]}")$(code "$url/%2e%2e/etc/passwd" "${auth[@]}")" 404404 \
  "there are no files behind the paths of URLs"

note "what a bad client can do"
python3 "$live/clients.py" idle "http://127.0.0.1:$port" 100 2 < <(sleep 60) >"$T/idle.out" &
idle=$!
PIDS+=("$idle")
wait_for 30 grep -qs kept "$T/idle.out"
is "$(cat "$T/idle.out")" "64 of 100 kept, 36 refused" "64 connections of one address, and no more"
[ -z "$other" ] || is "$(code "http://$other:$port/healthz" --interface "$other")" 200 "another address is served meanwhile"
kill "$idle" 2>/dev/null
wait "$idle" 2>/dev/null
wait_for 20 test "$(code "$url/healthz")" = 200
ok $? "they are let in again when those have gone"
long=$(head -c 20000 /dev/zero | tr '\0' a)
is "$(code "$url/status" -H "X-Long: $long" "${auth[@]}" | grep -Ec '^(4[0-9][0-9]|000)$')" 1 "a header of 20 KB is refused"
is "$(code "$url/status?$long" "${auth[@]}" | grep -Ec '^(4[0-9][0-9]|000)$')" 1 "so is such a URL"
python3 - "$port" <<'END' >"$T/garbage.out"
import os, random, socket, sys
r = random.Random(1)
for i in range(200):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
    s.settimeout(1)
    lines = [b"GET / HTTP/1.1", b"GET  HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"POST /stream HTTP/1.1\r\nContent-Length: -1",
             b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff", b"GET /%zz%", os.urandom(50),
             b"GET /stream?path=%00%ff%c0%af HTTP/1.1\r\nHost: a", b"PRI * HTTP/2.0", b"\r\n" * 50]
    data = r.choice(lines)
    if r.random() < 0.5:
        data += b"\r\n\r\n"
    try:
        s.sendall(data)
        if r.random() < 0.5:
            s.recv(1000)
    except OSError:
        pass
    s.close()
print("ok")
END
is "$(cat "$T/garbage.out") $(code "$url/status" "${auth[@]}")" "ok 200" "200 requests that are none: it goes on"
WALBROOK_TEST_TOKEN=$token timeout 100 python3 "$live/clients.py" dribble "http://127.0.0.1:$port" 60 >"$T/dribble.out" &
dribble=$!
PIDS+=("$dribble")

note "TLS"
(
  cd "$T" || exit
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2
  signed() { # NAME SUBJECT_ALT_NAME [DAYS]
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" -days "${3:-2}" \
      -extfile <(printf 'subjectAltName=%s\n' "$2")
  }
  signed server DNS:localhost,IP:127.0.0.1
  signed elsewhere DNS:elsewhere.example
  signed client DNS:client
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out expired.pem -days -1 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  cp server.key expired.key
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout stranger.key -out stranger.pem \
    -subj /CN=stranger -days 2
) >"$T/openssl.out" 2>&1
chmod 600 "$T"/*.key

wait_for 70 ended "$dribble"
is "$(cat "$T/dribble.out")" "closed by the server" "a request that never ends is ended"
stop "$primary"
is "$rc" 0 "it stops"
grep -qF -- "$token" "$T/p.log"
is "$?" 1 "no token in the log"

begin "127.0.0.1:0" "tls-cert-file: $T/server.pem" "tls-key-file: $T/server.key" "token-file: $T/token"
like "$url" '^https://' "it says that it speaks HTTPS"
tls=https://localhost:$port
is "$(code "$tls/status" --cacert "$T/ca.pem" "${auth[@]}")" 200 "HTTPS"
is "$(code "$tls/status" --cacert "$T/ca.pem")" 401 "with the same rules"
is "$(code "http://localhost:$port/status" "${auth[@]}" | grep -Ec '^(4[0-9][0-9]|000)$')" 1 "HTTP is not answered there"
is "$(code "$tls/status" --tls-max 1.1 --tlsv1.0 --cacert "$T/ca.pem" "${auth[@]}")" 000 "no TLS older than 1.2"
run python3 "$live/plain_reader.py" -ca "$T/ca.pem" -token "$token" \
  -until "$(curl -sS -m 10 --cacert "$T/ca.pem" "${auth[@]}" "$tls/position?path=$quoted")" "$tls" "$db" "$T/tls.db"
is "$rc" 0 "the plain reader follows through TLS" || note "$out"

note "the follower's side"
follower_conf() { # URL [LINE…] (in upstream)
  {
    printf 'socket: %s\ndbs:\n  - path: %s\n    upstream:\n      url: %s\n      path: %s\n' "$T/f.sock" "$T/f.db" "$1" "$db"
    [ $# -lt 2 ] || printf '      %s\n' "${@:2}"
  } >"$T/f.yml"
}
follow() { # URL [LINE…]: sets $follower
  follower_conf "$@"
  rm -rf "$T/f.db"* "$T/.f.db-litestream"
  : >"$T/f.log"
  start f replicate -config "$T/f.yml"
  follower=$PID
}
followed() { # URL LINE… DESCRIPTION
  follow "${@:1:$#-1}"
  wait_for 20 test -e "$T/f.db"
  ok $? "${*: -1}" || note "$(cat "$T/f.log")"
  stop "$follower"
}
refused() { # URL ERE LINE… DESCRIPTION
  follow "$1" "${@:3:$#-3}"
  wait_for 20 says f "$2"
  like "$(grep -E 'level=(warn|error)|WARN|ERROR' "$T/f.log")" "$2" "${*: -1}: said so"
  [ ! -e "$T/f.db" ]
  ok $? "and nothing is followed"
  grep -qF -- "$token" "/proc/$follower/cmdline" "$T/f.log"
  is "$?" 1 "nor is a token shown"
  stop "$follower"
}
ca="ca-file: $T/ca.pem" tok="token-file: $T/token"
followed "$tls" "$ca" "$tok" "a follower with the right authority and token"
refused "$tls" '(certificate|issuer|verif).*ca-file' "$tok" "an authority that it does not know"
refused "http://localhost:$port" 'HTTPS' "$tok" "HTTP where HTTPS is spoken"
printf 'wrong\n' >"$T/wrong"
chmod 600 "$T/wrong"
refused "$tls" '401|token' "$ca" "token-file: $T/wrong" "a wrong token"
refused "$tls" '401|token' "$ca" "no token"
stop "$primary"

begin "127.0.0.1:0" "tls-cert-file: $T/elsewhere.pem" "tls-key-file: $T/elsewhere.key" "token-file: $T/token"
refused "https://localhost:$port" 'localhost|host|name' "$ca" "$tok" "a certificate for another host"
stop "$primary"
begin "127.0.0.1:0" "tls-cert-file: $T/expired.pem" "tls-key-file: $T/expired.key" "token-file: $T/token"
refused "https://localhost:$port" 'expired' "$ca" "$tok" "a certificate that has expired"
stop "$primary"

begin "127.0.0.1:0" "tls-cert-file: $T/server.pem" "tls-key-file: $T/server.key" "tls-client-ca-file: $T/ca.pem"
tls=https://localhost:$port
for what in /status /metrics "/stream?path=$quoted"; do
  like "$(code "$tls$what" --cacert "$T/ca.pem")" '^(403|000)$' "${what%%\?*}: not without a client's certificate"
  like "$(code "$tls$what" --cacert "$T/ca.pem" --cert "$T/stranger.pem" --key "$T/stranger.key")" '^(403|000)$' \
    "nor with a stranger's"
done
is "$(code "$tls/status" --cacert "$T/ca.pem" --cert "$T/client.pem" --key "$T/client.key")" 200 "with the right one there is"
followed "$tls" "$ca" "cert-file: $T/client.pem" "key-file: $T/client.key" "a follower with a certificate"
refused "$tls" 'certificate|TLS|SSL' "$ca" "a follower without a certificate"
stop "$primary"

done_testing
