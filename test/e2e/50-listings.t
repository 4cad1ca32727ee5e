#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# databases, generations, snapshots, wal: the listings of replicas that Litestream 0.3.13 wrote come out as it printed
# them (its output lies in test/golden), but for the index, which is hexadecimal here. Then what it did not do: exit
# codes, -json, what an empty listing means, which command comes next.
. "${0%/*}/lib.sh"
golden=$SOURCE/test/golden/v03

# Only standard output; standard error goes to $T/err.
run_out() { # ARGUMENT…: sets $out and $rc
  rc=0
  out=$(timeout --foreground -k 5 60 "$WALBROOK" "$@" </dev/null 2>"$T/err") || rc=$?
}

with_times() { # CASE: a copy of its replica with the times that the store had; prints its path
  local to=$T/${1//\//-} f t
  mkdir "$to" && cp -r "$golden/$1/replica" "$to/"
  while IFS=$'\t' read -r f t; do
    touch -d "$t" "$to/$f" 2>/dev/null || touch -d "$t" "$to/replica/$f"
  done <"$golden/$1/mtimes.tsv"
  echo "$to/replica"
}

# The original's table with the index (column 3) in hexadecimal, set anew.
hex_index() { # FILE
  awk '{ n[NR] = NF
         for (i = 1; i <= NF; i++) {
           c[NR, i] = NR > 1 && i == 3 ? sprintf("%08x", $i) : $i
           if (length(c[NR, i]) > w[i]) w[i] = length(c[NR, i])
         } }
       END { for (r = 1; r <= NR; r++)
               for (i = 1; i <= n[r]; i++)
                 if (i < n[r]) printf "%-*s", w[i] + 2, c[r, i]; else print c[r, i] }' "$1"
}

# The lag depends on when the listing was made: its column goes out.
without_lag() {
  awk '{ print $1, $2, $4, $5 }'
}

json() { # QUERY: of the JSON in $out, as ?1
  sqlite3 -batch :memory: -cmd '.parameter init' -cmd ".parameter set ?1 \"CAST(readfile('$T/json') AS TEXT)\"" "$1"
}

json_of() { # ARGUMENT…
  run_out "$@"
  printf '%s\n' "$out" >"$T/json"
}

note "what the original printed"
for listing in "$golden"/*/listing "$golden"/*/*/listing; do
  name=${listing#"$golden"/} name=${name%/listing}
  replica=$(with_times "$name")
  bad=''
  for command in snapshots wal; do
    run_out "$command" "file://$replica"
    [ "$rc" = 0 ] && [ "$out" = "$(hex_index "$listing/$command.txt")" ] || bad="$bad $command"
  done
  run_out generations "file://$replica"
  [ "$rc" = 0 ] && [ "$(without_lag <<<"$out")" = "$(without_lag <"$listing/generations.txt")" ] ||
    bad="$bad generations"
  [ ! -s "$T/err" ] || bad="$bad says:$(cat "$T/err")"
  is "$bad" "" "listings of $name"
done
old=$T/two-generations/replica
run_out snapshots "$old"
is "$out" 'replica  generation        index     size  created
file     ae05123ce2d8d502  00000001  4366  2026-11-21T01:51:30Z
file     e727b0554113e8f1  00000001  8906  2026-11-21T01:51:33Z' "a directory in place of its URL"
run_out wal -generation e727b0554113e8f1 "$old"
is "$(awk '{ print $2 }' <<<"$out" | sort -u | tr '\n' ' ')" "e727b0554113e8f1 generation " "-generation"

note "JSON"
json_of snapshots -json "$old"
is "$(json 'SELECT json_array_length(?1)')" 2 "snapshots -json: two rows"
is "$(json "SELECT json_extract(?1, '\$[1]')")" '{"replica":"file","generation":"e727b0554113e8f1","index":"00000001","size":8906,"created":"2026-11-21T01:51:33.'"$(
  grep e727b0554113e8f1/snapshots "$golden/two-generations/mtimes.tsv" | sed 's/.*\.\([0-9]\{6\}\).*/\1/'
)"'Z"}' "its fields, times to the microsecond"
json_of wal -json "$old"
is "$(json "SELECT count(*), min(value->>'offset'), max(value->>'offset'), max(value->>'index'), sum(value->>'size') FROM json_each(?1)")" \
  "$(awk 'NR > 1 { n++; s += $5; if ($4 > o) o = $4; if ($3 > i) i = $3 }
          END { printf "%d|0|%d|%08x|%d", n, o, i, s }' "$golden/two-generations/listing/wal.txt")" "wal -json: the same as the table"
json_of generations -json "$old"
is "$(json "SELECT group_concat(value->>'snapshots' || ' ' || (value->>'segments') || ' ' || (value->>'restorable') || ' ' ||
    (value->>'exact') || ' ' || (value->>'first_restorable' = value->>'start') || ' ' || (value->>'last_restorable' = value->>'end'))
    FROM json_each(?1)")" "1 19 1 0 1 1,1 17 1 0 1 1" "generations -json: restorable as long as there are objects"
is "$(json "SELECT min(value->>'lag_seconds' > 1) FROM json_each(?1)")" 1 "the lag of a URL is up to now"

note "a configured database with several replicas"
db=$T/app.db
cat >"$T/c.yml" <<END
logging: { stderr: false }
dbs:
  - path: $db
    replicas:
      - { name: a, path: $old }
      - { name: gone, path: $T/gone }
      - { name: b, path: $T/page512/replica }
  - path: $T/other.db
    replicas: [ { url: "sftp://me:hunter2@host/x" } ]
END
run_out databases -config "$T/c.yml"
is "$out" "$(printf '%-*s  %s\n' $((${#db} + 2)) path replicas $((${#db} + 2)) "$db" a,gone,b $((${#db} + 2)) "$T/other.db" sftp)" \
  "databases"
json_of databases -json -config "$T/c.yml"
is "$(json "SELECT json_extract(?1, '\$[0].replicas[2].name', '\$[0].replicas[2].path', '\$[1].replicas[0].type')")" \
  "[\"b\",\"$T/page512/replica\",\"sftp\"]" "databases -json"
like "$out" 'sftp://me:[*]+@host/x' "a URL without its password"
is "$(grep -c hunter2 "$T/json")" 0 "no password"
newest=$(find "$old/generations/e727b0554113e8f1" -type f -printf '%T@\n' | sort -n | tail -n 1)
newest_us=${newest%.*}${newest:11:6}
for lag in 3650000=3.6s 812300=812ms 3723900000=1h2m3s 65500000=1m5s 10900000=10s 7050000=7s -2250000=-2.2s -500=-500µs; do
  us=$((newest_us + ${lag%=*}))
  touch -d "@${us:0:10}.${us:10}" "$db"
  run_out generations -config "$T/c.yml" -replica a "$db"
  is "$(awk '/e727b0554113e8f1/ { print $3 }' <<<"$out")" "${lag#*=}" "a lag of ${lag%=*} µs"
done
: >"$db-wal"
run_out generations -config "$T/c.yml" -replica a "$db"
like "$(awk '/e727b0554113e8f1/ { print $3 }' <<<"$out")" '^[0-9]+h' "a WAL that is younger than the database counts"
run_out generations -config "$T/c.yml" "$db"
is "$rc" 4 "a replica that is not there: exit code 4"
is "$(awk 'NR > 1 { print $1 }' <<<"$out" | tr '\n' ' ')" "a a b " "the others are listed"
like "$(cat "$T/err")" "level=ERROR .*replica=gone.*$T/gone" "the one that failed is told on standard error"
: >"$T/gone"
run_out snapshots -config "$T/c.yml" "$db"
is "$rc" 7 "a replica that cannot be read: exit code 7"
json_of wal -json -config "$T/c.yml" -replica gone "$db"
is "$rc:$(json 'SELECT json_array_length(?1)')" 7:0 "alone: an empty array and exit code 7"
rm "$db" "$db-wal" "$T/gone"
mkdir "$T/gone"
run_out generations -config "$T/c.yml" "$db"
is "$rc:$(awk 'NR > 1 { print $3 }' <<<"$out" | sort -u)" "0:-" "without the database there is a listing, but no lag"

note "little and nothing"
mkdir "$T/empty"
for command in generations snapshots wal; do
  run_out "$command" "$T/empty"
  is "$rc:$(wc -l <<<"$out"):$(wc -l <"$T/err")" 0:1:1 "$command of nothing: the header, and a sentence"
  like "$(cat "$T/err")" "no backup is in $T/empty" "$command of nothing: what it means"
done
json_of snapshots -json "$T/empty"
is "$rc:$(json "SELECT json_array_length(?1)"):$(cat "$T/err")" "0:0:" "nothing as JSON"
g=0123456789abcdef
mkdir -p "$T/bare/generations/$g/wal" "$T/bare/generations/fedcba9876543210"
cp "$old/generations/e727b0554113e8f1/wal/00000001_00000000.wal.lz4" "$T/bare/generations/$g/wal/"
touch -d 2026-01-02T03:04:05Z "$T/bare/generations/$g/wal/"*
run_out generations "$T/bare"
is "$rc:$(awk 'NR > 1 { print $2, $4, $5 }' <<<"$out")" "0:$g 2026-01-02T03:04:05Z 2026-01-02T03:04:05Z
fedcba9876543210 - -" "generations without snapshot and without anything"
like "$(cat "$T/err")" "$g.*segments=1" "that they cannot be restored is told"
json_of generations -json "$T/bare"
is "$(json "SELECT group_concat(coalesce(value->>'restorable', 'x') || coalesce(value->>'first_restorable', '-')
    || coalesce(value->>'lag_seconds' > 0, '-')) FROM json_each(?1)")" "0-1,0--" "and in JSON"
run_out snapshots "$T/bare"
like "$rc$(cat "$T/err")" '^0There are no snapshots in any of its generations \(2\); walbrook generations' "no snapshots"
run_out wal -generation "${g/0/9}" "$T/bare"
is "$rc" 4 "a generation that is not there: exit code 4"
like "$(cat "$T/err")" "${g/0/9}.*walbrook generations $T/bare" "and how to find one"
touch "$T/bare/generations/$g/wal/foo" "$T/bare/generations/bar"
run_out wal "$T/bare"
is "$rc:$(wc -l <<<"$out")" 0:2 "names that are not ours are not listed"
like "$(cat "$T/err")" "$g/wal/foo" "but told: in a folder"
like "$(cat "$T/err")" 'generations/bar' "and beside the generations"

note "wrong use"
fails() { # CODE DESCRIPTION ERE…
  local code=$1 what=$2 missing='' re
  shift 2
  for re; do
    grep -Eq -- "$re" <<<"$out" || missing="$missing [$re]"
  done
  is "$rc:$(grep -c ^walbrook: <<<"$out"):$missing" "$code:1:" "$what: exit code and one line" || note "said: $out"
}
for command in generations snapshots wal; do
  run walbrook "$command"
  fails 2 "$command of what?" 'database path (or replica URL )?required' 'walbrook databases'
  run walbrook "$command" a b
  fails 2 "$command of two" 'too many arguments' '"b"'
  run walbrook "$command" -generation 12 "$old"
  fails 2 "$command of half a generation" '"12"' '16'
  run walbrook "$command" -config "$T/c.yml" "file://$old"
  fails 2 "$command -config with a URL" 'cannot specify a replica URL and the -config flag'
  run walbrook "$command" -config "$T/c.yml" -replica c "$db"
  fails 2 "$command of no such replica" "replica \"c\" not found for database \"$db\"" 'a, gone, b'
  run walbrook "$command" -config "$T/c.yml" "$T/ap.db"
  fails 3 "$command of no such database" "database not found in config: $T/ap.db" "Did you mean $db"
  run walbrook "$command" "s3://bucket/db"
  fails 3 "$command of a store that this version has not" 's3'
  run walbrook help "$command"
  is "$rc" 0 "help $command"
  like "$out" '-json' "its flags are told"
done
run walbrook databases x
fails 2 "databases of what?" 'too many arguments' '"x"'
run walbrook databases -config "$T/none.yml"
fails 3 "databases of no configuration" "$T/none.yml"

note "the next command, for a person"
on_terminal() { # ARGUMENT…
  out=$(script -qec "$(printf '%q ' "$WALBROOK" "$@")" /dev/null </dev/null | tr -d '\r')
}
on_terminal generations "$old"
like "$out" "^Next: walbrook restore -o FILE -generation e727b0554113e8f1 $old\$" "after generations"
on_terminal wal "$old"
like "$out" "^Next: walbrook restore -o FILE -generation e727b0554113e8f1 -index 00000003 $old\$" "after wal"
on_terminal databases -config "$T/c.yml"
like "$out" "^Next: walbrook generations -config $T/c.yml $db\$" "after databases"
on_terminal snapshots -json "$old"
is "$(grep -c Next <<<"$out")" 0 "never beside JSON"

note "a replica of ours: exact times; -json of the other commands"
rm -f "$db"
sql "$db" 'PRAGMA journal_mode=wal; CREATE TABLE t(a);' >/dev/null
start daemon replicate -json "$db" "file://$T/new"
wait_for 20 replica_has "$T/new" 'SELECT count(*) FROM t' 0
sleep 0.1
sql "$db" 'INSERT INTO t VALUES(1)'
wait_for 20 replica_has "$T/new" 'SELECT count(*) FROM t' 1
sleep 0.1
sql "$db" 'INSERT INTO t VALUES(2)'
wait_for 20 replica_has "$T/new" 'SELECT count(*) FROM t' 2
stop "$PID"
is "$rc" 0 "replicate -json"
is "$(grep -cv '^{"time":".*}$' "$T/daemon.log")" 0 "its log is JSON, line by line"
json_of generations -json "$T/new"
is "$(json "SELECT value->>'exact' FROM json_each(?1)")" 1 "the index tells exact times"
last=$(json "SELECT value->>'last_restorable' FROM json_each(?1)")
json_of restore -json -timestamp "$last" -o "$T/last.db" "$T/new"
is "$rc:$(json "SELECT json_extract(?1, '\$.status', '\$.exact', '\$.path')")" "0:[\"restored\",true,\"$T/last.db\"]" "restore -json"
is "$(json "SELECT json_extract(?1, '\$.last_commit')"):$(sql "$T/last.db" 'SELECT max(a) FROM t')" "$last:2" "its last commit is the last one"
json_of restore -json -timestamp "$(date -u -d "$last - 0.01 seconds" +%Y-%m-%dT%H:%M:%S.%6NZ)" -o "$T/before.db" "$T/new"
is "$(sql "$T/before.db" 'SELECT max(a) FROM t')" 1 "10 ms before it the commit before"
json_of restore -json -if-db-not-exists -o "$T/last.db" "$T/new"
is "$rc:$(json "SELECT json_extract(?1, '\$.status', '\$.reason')")" '0:["skipped","database exists"]' "restore -json: nothing to do"
json_of restore -json -o "$T/last.db" "$T/new"
is "$rc:$(json "SELECT json_extract(?1, '\$.status', '\$.exit_code', '\$.retry')")" '6:["failed",6,false]' "restore -json: failed"
json_of version -json
is "$rc:$(json "SELECT json_extract(?1, '\$.version')")" "0:$("$WALBROOK" version)" "version -json"

note "a large replica"
mkdir -p "$T/large/generations/$g/wal"
(cd "$T/large/generations/$g/wal" && seq 0 99999 | awk '{ printf "%08x_%08x.wal.lz4\n", $1 / 10, $1 % 10 * 4152 }' | xargs touch)
json_of wal -json "$T/large"
is "$rc:$(json 'SELECT json_array_length(?1)')" 0:100000 "100,000 segments as JSON"
run_out wal "$T/large"
is "$rc:$(tail -n 1 <<<"$out" | awk '{ print $3, $4 }')" "0:0000270f 37368" "and as a table"

done_testing
