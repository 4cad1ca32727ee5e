#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# addr: /metrics with the names and labels of Litestream 0.3.13 and ours, /healthz, and what else may come to an
# HTTP server.
. "${0%/*}/lib.sh"

db=$T/'a "quoted" name.db' r=$T/r
mkdir "$r"
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
conf() { # ADDR [MORE]
  printf 'addr: "%s"\n%s\ndbs:\n  - path: %s\n    replicas:\n      - path: %s\n        name: main\n        sync-interval: 10ms\n' \
    "$1" "${2:-}" "$db" "$r/main" >"$T/walbrook.yml"
}
begin() { # NAME: starts it and sets $url
  start "$1" replicate -config "$T/walbrook.yml"
  wait_for 20 says "$1" 'serving metrics on' || return
  url=$(sed -n 's,.*serving metrics on" url=\(http[^ ]*\)/metrics.*,\1,p' "$T/$1.log" | tail -n 1)
}
get() { # PATH [CURL FLAG…]: sets $out (body, then the status on a line of its own)
  out=$(curl -sS -m 20 "${@:2}" -w '\n%{http_code} %{content_type}' "$url$1" 2>&1)
}
metric() { # NAME{LABELS}: its value
  local line
  line=$(curl -sS -m 20 "$url/metrics" | grep -F -- "$1 ")
  printf '%s\n' "${line##* }"
}
at_least() { # NAME VALUE
  awk -v a="$(metric "$1")" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 >= b + 0) }'
}

conf 127.0.0.1:0
begin one
ok $? "it says where it serves"
for i in 1 2 3 4 5; do sql "$db" "INSERT INTO t VALUES($i)"; done
D='db="'$T'/a \"quoted\" name.db"'
wait_for 20 at_least "litestream_replica_wal_bytes{$D,name=\"main\"}" 5
ok $? "bytes shipped are counted"
get /metrics
is "${out##*$'\n'}" '200 text/plain; version=0.0.4; charset=utf-8' "/metrics: status and type"
body=${out%$'\n'*}
missing=
has() { # SAMPLE: it is there, with a number
  grep -F -- "$1 " <<<"$body" | grep -q ' [0-9.]*$'
}
for name in litestream_db_size litestream_wal_size litestream_total_wal_bytes litestream_shadow_wal_index \
  litestream_shadow_wal_size litestream_sync_count litestream_sync_error_count litestream_sync_seconds; do
  has "$name{$D}" || missing="$missing $name"
done
for name in count error_count seconds; do
  has "litestream_checkpoint_$name{$D,mode=\"PASSIVE\"}" || missing="$missing checkpoint_$name"
done
for name in litestream_replica_wal_bytes litestream_replica_wal_index litestream_replica_wal_offset \
  walbrook_replica_lag_seconds walbrook_replica_errors walbrook_replica_last_success_timestamp_seconds; do
  has "$name{$D,name=\"main\"}" || missing="$missing $name"
done
for status in ok error; do
  grep -qF "litestream_replica_validation_total{$D,name=\"main\",status=\"$status\"} 0" <<<"$body" || missing="$missing $status"
done
is "$missing" "" "every name of the original, with its labels, and the lag, errors and last success of each replica"
is "$(grep -Ev '^(#|$)' <<<"$body" | grep -Evc '^[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? -?[0-9]+(\.[0-9]+)?$')" 0 "every line is well formed"
is "$(grep '^# TYPE' <<<"$body" | sort | uniq -d)" "" "no family comes twice"
is "$(metric "litestream_db_size{$D}")" "$(stat -c %s "$db")" "the size of the database is right"
get /healthz
is "$out" $'ok\n\n200 text/plain; charset=utf-8' "/healthz: well"

note "what else may come"
get /nowhere
is "${out##*$'\n'}" '404 text/plain; charset=utf-8' "another path: 404"
get /metrics -X POST -d x
is "${out##*$'\n'}" '405 text/plain; charset=utf-8' "another method: 405"
get /metrics -I
like "$out" 'HTTP/1.1 200' "HEAD"
get /metrics -H "X-Long: $(head -c 40000 /dev/zero | tr '\0' x)"
like "${out##*$'\n'}" '^(431|000)' "a header without end is refused"
head -c 3000 /dev/urandom | timeout 5 curl -s -m 3 "telnet://${url#http://}" >/dev/null 2>&1
get /healthz
like "$out" '^ok' "noise does no harm"
for i in $(seq 100); do curl -s -m 10 -o /dev/null "$url/metrics" & done
wait $(jobs -p | grep -v "^$PID\$") 2>/dev/null
get /healthz
like "$out" '^ok' "nor do a hundred at once"

note "unhealthy"
stop "$PID"
conf 127.0.0.1:0 'health-lag: 300ms'
begin two
wait_for 20 replica_has "$r/main" 'SELECT count(*) FROM t' 6
if [ "$(id -u)" = 0 ] && small_disk 300k; then
  stop "$PID"
  mkdir "$T/disk/r"
  r=$T/disk/r
  conf 127.0.0.1:0 'health-lag: 300ms'
  begin three
  unwell() { get /healthz && [[ ${out##*$'\n'} == 503* ]]; }
  for i in 1 2 3 4 5 6 7 8; do sql "$db" "INSERT INTO t VALUES(hex(randomblob(100000)))"; done
  wait_for 20 unwell
  ok $? "a replica that takes nothing more: 503 after the bound"
  like "$out" 'a commit waits for' "and the reason"
  D2="$D,name=\"main\""
  at_least "walbrook_replica_errors{$D2}" 1 && at_least "walbrook_replica_lag_seconds{$D2}" 0.3
  ok $? "errors and lag are counted"
else
  skipped 3 "needs root, for a small disk"
fi
kill -9 "$PID"

note "addresses"
r=$T/r
python3 -c '
import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); print(s.getsockname()[1], flush=True); time.sleep(20)' >"$T/port" &
taken=$!
PIDS+=("$taken")
wait_for 10 test -s "$T/port"
db=$T/other.db
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null
conf "127.0.0.1:$(cat "$T/port")"
r=$T/r2 conf "127.0.0.1:$(cat "$T/port")"
start busy replicate -config "$T/walbrook.yml"
wait_for 20 says busy 'metrics are not served; .*another program listens there'
ok $? "a port that is taken is said"
wait_for 20 replica_has "$T/r2/main" 'SELECT count(*) FROM t' 0
ok $? "and replication goes on"
kill "$taken"
wait_for 20 says busy 'serving metrics on'
ok $? "when it is free it is served"
stop "$PID"
done_testing
