#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Encrypted replicas: what we write the age command opens, what age wrote restores with us; restarts with the key and
# without it; wrong keys, missing keys, keys that are put in later.
. "${0%/*}/lib.sh"

golden=$SOURCE/test/golden/age
install -m 600 "$golden/key.txt" "$T/key.txt"
install -m 600 "$golden/wrong.txt" "$T/wrong.txt"
public=$(sed -n 's/^# public key: //p' "$T/key.txt")
secret=$(grep '^AGE-SECRET-KEY-1' "$T/key.txt")

# A database in WAL mode that an application holds open.
declare -A app
database() { # NAME
  sql "$T/$1.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, body); INSERT INTO t(body) VALUES(1);' \
    >/dev/null
  mkfifo "$T/$1.fifo"
  sqlite3 -batch -cmd '.timeout 10000' "$T/$1.db" <"$T/$1.fifo" >"$T/$1.out" 2>&1 &
  PIDS+=("$!")
  exec {fd}>"$T/$1.fifo"
  app[$1]=$fd
}

# The application begins to read, right behind a commit: from now on the WAL grows and cannot begin anew, so that a
# start can prove that nothing is missing, and only the keys decide whether the generation goes on.
read_on() { # NAME
  echo "INSERT INTO t(body) VALUES('read on'); BEGIN; SELECT count(*) FROM t;" >&"${app[$1]}"
  wait_for 10 test -s "$T/$1.out"
}

add() { # NAME N: commits N more rows, one by one
  local i
  for ((i = 0; i < $2; i++)); do
    echo "INSERT INTO t(body) VALUES(hex(randomblob(500)));"
  done | sql "$T/$1.db"
}

configure() { # NAME AGE…: a configuration with one replica, $T/NAME.r; its age section in flow style
  cat >"$T/$1.yml" <<YML
dbs:
  - path: $T/$1.db
    min-checkpoint-page-count: 10
    max-checkpoint-page-count: 100
    replicas:
      - path: $T/$1.r
        sync-interval: 0
        ${2:+age: $2}
YML
}

objects() {
  find "$1" -type f
}

# The replica restores with the key, and the restored database answers SQL with WANT.
has() { # NAME KEY SQL WANT
  local probe=$T/probe.$RANDOM got
  "$WALBROOK" restore ${2:+-identity "$2"} -o "$probe" "file://$T/$1.r" >"$probe.out" 2>&1
  got=$(sqlite3 -batch "$probe" "$3" 2>/dev/null)
  rm -f "$probe" "$probe"-* "$probe.out"
  [ "$got" = "$4" ]
}

count='SELECT count(*) FROM t'

note "both keys"
database both
configure both "{identity-files: [$T/key.txt], recipients: [$public]}"
start both replicate -config "$T/both.yml"
wait_for 20 has both "$T/key.txt" "$count" 1
grep -q libcrypto "/proc/$PID/maps"
ok $? "libcrypto is loaded"
for burst in 1 2 3; do
  add both 20
  sleep 0.6
done
read_on both
wait_for 20 has both "$T/key.txt" "$count" 62
ok $? "commits arrive"
kill -9 "$PID"
wait "$PID" 2>/dev/null
add both 5
start both replicate -config "$T/both.yml"
wait_for 20 has both "$T/key.txt" "$count" 67
ok $? "also those made while it was dead"
is "$(generations "$T/both.r")" 1 "the generation goes on after kill -9"
stop "$PID"
is "$rc" 0 "stopped"
bad=$(for f in $(objects "$T/both.r"); do
  [ "$(head -n 1 "$f" | tr -d '\0')" = age-encryption.org/v1 ] || echo "$f"
done)
is "$bad" "" "every object is encrypted, the index too"
run walbrook generations -json -config "$T/both.yml" "$T/both.db"
like "$out" '"exact": ?true' "generations reads the index with the key: its times are exact" || note "$out"
run walbrook check -config "$T/both.yml"
like "$out" 'encrypted with the keys of the configuration, and read back' "check writes and reads through the encryption"
is "$(find "$T/both.r" -name '*check*' | wc -l)" 0 "and leaves nothing behind"
[ "$(find "$T/both.r" -name '*.index' | wc -l)" -gt 1 ]
ok $? "over several WAL indexes"
run walbrook restore -config "$T/both.yml" -o "$T/both.restored" "$T/both.db"
is "$rc" 0 "restore by configuration"
is "$(sqlite3 "$T/both.restored" .dump | sha256sum)" "$(sql "$T/both.db" .dump | sha256sum)" "the content of the source"

if command -v age >/dev/null; then
  note "the age command"
  plain=$T/plain
  for f in $(cd "$T/both.r" && objects .); do
    mkdir -p "$plain/${f%/*}"
    age -d -i "$T/key.txt" -o "$plain/$f" "$T/both.r/$f" || echo "$f"
  done >"$T/age.out" 2>&1
  is "$(cat "$T/age.out")" "" "age -d opens every object"
  # shellcheck disable=SC2046
  lz4 -tqm $(find "$plain" -name '*.lz4')
  ok $? "and lz4 what is in it"
  sed -n '/^```sh by-hand$/,/^```$/p' "$SOURCE/docs/formats.md" | sed '1d;$d' >"$T/by-hand.sh"
  sh "$T/by-hand.sh" "$plain" "$T/by-hand" >"$T/by-hand.log" 2>&1
  is "$(sqlite3 "$T/by-hand" .dump | sha256sum)" "$(sql "$T/both.db" .dump | sha256sum)" "restored by hand"
  for f in $(cd "$plain" && objects .); do
    mkdir -p "$T/byage.r/${f%/*}"
    age -r "$public" -o "$T/byage.r/$f" "$plain/$f"
  done
  run walbrook restore -identity "$T/key.txt" -o "$T/byage" "file://$T/byage.r"
  is "$rc" 0 "what age encrypted restores"
  is "$(sha256sum <"$T/byage")" "$(sha256sum <"$T/both.restored")" "to the same bytes"
else
  skipped 5 "there is no age command"
fi

note "the wrong key, none, and what is no key"
run walbrook restore -identity "$T/wrong.txt" -o "$T/x" "file://$T/both.r"
is "$rc" 3 "the wrong key: exit code 3"
like "$out" 'snapshot\.lz4: encrypted \(age\).*does not open it: it was written for another key' "says so, with the object"
run walbrook restore -o "$T/x" "file://$T/both.r"
is "$rc" 3 "no key: exit code 3"
like "$out" 'encrypted \(age\).*-identity FILE' "says how to give one"
run walbrook restore -identity "$T/none.txt" -o "$T/x" "file://$T/both.r"
is "$rc" 2 "a key file that is not there: exit code 2"
like "$out" "-identity: $T/none.txt" "names it"
printf '# mine\n%s\n' "$public" >"$T/public.txt"
run walbrook restore -identity "$T/public.txt" -o "$T/x" "file://$T/both.r"
is "$rc" 2 "the public key: exit code 2"
like "$out" 'public.txt: line 2: a public key' "says so, with the line"
printf '%sQ\n' "$secret" >"$T/typo.txt"
configure typo "{identity-files: [$T/typo.txt]}"
run walbrook replicate -config "$T/typo.yml"
is "$rc" 3 "a mistyped key in a configuration: exit code 3"
like "$out" 'typo.yml:[0-9]+:[0-9]+: age: identity-files: .*typo.txt: line 1: ' "names place, file and line"
chmod 644 "$T/wrong.txt"
run walbrook restore -identity "$T/wrong.txt" -o "$T/x" "file://$T/both.r"
like "$out" 'can be read by everybody.*wrong.txt' "a key file that everybody can read is worth a warning"
segment=$(find "$T/both.r" -name '*.wal.lz4' | sort | tail -n 1)
cp -r "$T/both.r" "$T/broken.r"
segment=$T/broken.r${segment#"$T/both.r"}
truncate -s -1 "$segment"
run walbrook restore -identity "$T/key.txt" -o "$T/x" "file://$T/broken.r"
is "$rc" 5 "a segment that is cut off: exit code 5"
like "$out" "${segment##*/}: damaged or cut off: chunk 0" "says which object and chunk"
is "$(ls "$T" | grep -c '^x')" 0 "nothing is left behind by any of these"

note "recipients alone"
database blind
configure blind "{recipients: [$public]}"
start blind replicate -config "$T/blind.yml"
wait_for 20 has blind "$T/key.txt" "$count" 1
says blind 'level=WARN.*cannot be restored, verified or validated'
ok $? "the log says what is not possible"
add blind 19
read_on blind
wait_for 20 has blind "$T/key.txt" "$count" 21
ok $? "commits arrive"
kill -9 "$PID"
wait "$PID" 2>/dev/null
add blind 5
start blind replicate -config "$T/blind.yml"
wait_for 20 has blind "$T/key.txt" "$count" 26
ok $? "also those made while it was dead"
stop "$PID"
start blind replicate -config "$T/blind.yml"
add blind 1
wait_for 20 has blind "$T/key.txt" "$count" 27
stop "$PID"
is "$(generations "$T/blind.r")" 1 "the generation goes on after kill -9, and after a stop"
run walbrook restore -config "$T/blind.yml" -o "$T/x" "$T/blind.db"
is "$rc" 3 "restore without the key: exit code 3"
run walbrook restore -config "$T/blind.yml" -identity "$T/key.txt" -o "$T/blind.restored" "$T/blind.db"
is "$rc" 0 "with it, by configuration"
is "$(sqlite3 "$T/blind.restored" .dump | sha256sum)" "$(sql "$T/blind.db" .dump | sha256sum)" "the content of the source"
rm -r "$T/.blind.db-litestream/walbrook/shipped"
start blind replicate -config "$T/blind.yml"
wait_for 20 says blind 'new generation.*because of a replica'
ok $? "what was noted is lost: a new generation, and the log says why"
add blind 1
wait_for 20 has blind "$T/key.txt" "$count" 28
stop "$PID"
is "$(generations "$T/blind.r")" 2 "there are two now"

note "keys that come later, and go"
database later
configure later ""
start later replicate -config "$T/later.yml"
read_on later
wait_for 20 has later "" "$count" 2
! grep -q libcrypto "/proc/$PID/maps"
ok $? "without keys libcrypto is not loaded"
stop "$PID"
configure later "{identities: [\"$secret\"]}"
start later replicate -config "$T/later.yml"
add later 1
wait_for 20 has later "$T/key.txt" "$count" 3
ok $? "keys are put in: what is written then restores with them"
stop "$PID"
is "$(generations "$T/later.r")" 2 "in a generation of its own"
says later 'encrypted for the public keys of its identities'
ok $? "identities alone: encrypted for themselves, and said"
run walbrook restore -config "$T/later.yml" -o "$T/later.restored" "$T/later.db"
is "$rc" 0 "restored by configuration"
start later replicate -config "$T/later.yml"
add later 1
wait_for 20 has later "$T/key.txt" "$count" 4
stop "$PID"
is "$(generations "$T/later.r")" 2 "which goes on after a restart"
first=$(cd "$T/later.r/generations" && grep -Lr age-encryption . | cut -d/ -f2 | sort -u | head -n 1)
run walbrook restore -identity "$T/key.txt" -generation "$first" -o "$T/x" "file://$T/later.r"
is "$rc" 3 "the generation in the clear, with a key: exit code 3"
like "$out" 'not encrypted, but keys of age are given' "says what it is"
run walbrook restore -generation "$first" -o "$T/first" "file://$T/later.r"
is "$rc" 0 "without: restored"
configure later ""
start later replicate -config "$T/later.yml"
wait_for 20 has later "" "$count" 4
stop "$PID"
is "$(generations "$T/later.r")" 3 "keys are taken away: a generation of its own again"

is "$(cat "$T"/*.log | grep -c 'AGE-SECRET-KEY-1[A-Z0-9]')" 0 "no secret key in any log"

done_testing
