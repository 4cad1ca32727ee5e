#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Taking over from Litestream 0.3.13: its metadata directory and its replica are in place. Its generation goes on when
# the WAL still proves it, else a new one begins; what it had copied and not shipped is shipped; nothing of its history
# is touched; and it finds what it needs when it comes back.
. "${0%/*}/lib.sh"

sums() { # REPLICA GENERATION: its objects
  (cd "$1/generations/$2" && find . -type f ! -path './index/*' -exec sha256sum {} + | sort)
}

# What 0.3.13 does first: is the header of its newest copy that of the WAL? Prints goes-on or new-generation.
as_the_original() { # DATABASE
  local meta=${1%/*}/.${1##*/}-litestream g newest
  g=$(tr -d '\n' <"$meta/generation")
  newest=$(find "$meta/generations/$g/wal" -name '*.wal' 2>/dev/null | sort | tail -n 1)
  if [ -n "$newest" ] && cmp -s -n 32 "$newest" "$1-wal"; then echo goes-on; else echo new-generation; fi
}

take_over() { # NAME CASE: sets $db $r $g; walbrook runs in the background then
  db=$T/$1.db r=$T/$1.r
  g=$(python3 "$SOURCE/test/tools/leave03.py" "$db" "$r" "$2")
  sums "$r" "$g" >"$T/$1.before"
  start "$1" replicate "$db" "file://$r"
}

for case in clean lag lag-index unsynced; do
  note "$case"
  take_over "$case" "$case"
  wait_for 20 says "$case" 'generation continues'
  ok $? "$case: the generation goes on"
  sql "$db" "INSERT INTO t(v) VALUES('after the change')"
  stop "$PID"
  is "$rc" 0 "$case: stopped"
  is "$(ls "$r/generations")" "$g" "$case: there is no other generation"
  restores_to "$r" "$db"
  ok $? "$case: the replica holds everything"
  sums "$r" "$g" >"$T/$case.after"
  is "$(comm -23 "$T/$case.before" "$T/$case.after")" "" "$case: no object of the original was touched"
  is "$(sql "$db" 'SELECT seq FROM _litestream_seq; SELECT count(*) FROM _litestream_lock')" "$(printf '1\n0')" \
    "$case: its tables were left alone"
done

note "the objects of a taken-over WAL index can be cut anywhere"
is "$(ls "$T/lag.r/generations"/*/wal/00000001_* | wc -l)" 7 "lag: the rest of the index is one object, what came then another"

note "the WAL began anew meanwhile"
take_over restarted restarted
wait_for 20 says restarted 'new generation.*restarted while nobody watched'
ok $? "a new generation begins, and the log says why"
wait_for 20 replica_has "$r" 'SELECT count(*) FROM t' "$(sql "$db" 'SELECT count(*) FROM t')"
ok $? "it restores"
stop "$PID"
restores_to "$r" "$db"
ok $? "to everything"
sums "$r" "$g" >"$T/restarted.after"
is "$(comm -23 "$T/restarted.before" "$T/restarted.after")" "" "no object of the old generation was touched"
run walbrook restore -generation "$g" -o "$T/old.out" "$r"
is "$rc" 0 "the old generation restores"
is "$(sqlite3 "$T/old.out" 'SELECT count(*) FROM t')" 22 "with the commits that the original had not shipped"

note "and back"
take_over back clean
wait_for 20 says back 'generation continues'
stop "$PID"
is "$(as_the_original "$db")" goes-on "the original would go on in its generation while the WAL is the same"
cat "$T/.back.db-litestream/generation" | grep -qx "$g"
ok $? "whose name is where it looks for it"
start back replicate "$db" "file://$r"
wait_for 20 says back 'generation continues'
sql "$db" 'INSERT INTO t(v) VALUES(1); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(v) VALUES(2)' >/dev/null
wait_for 20 replica_has "$r" 'SELECT max(v) FROM t WHERE v IN (1, 2)' 2
stop "$PID"
is "$(as_the_original "$db")" new-generation "and would begin a new one when the WAL began anew under us"

note "there and back again"
take_over again clean
wait_for 20 says again 'generation continues'
sql "$db" "INSERT INTO t(v) VALUES('with us')"
stop "$PID"
is "$(python3 "$SOURCE/test/tools/leave03.py" "$db" "$r" again)" "$g" "the original goes on in its generation"
: >"$T/again.log"
start again replicate "$db" "file://$r"
wait_for 20 says again 'generation continues.*index=2'
ok $? "and so do we after it, from where it stopped"
sql "$db" "INSERT INTO t(v) VALUES('with us again')"
stop "$PID"
is "$(ls "$r/generations")" "$g" "it is one generation"
restores_to "$r" "$db"
ok $? "that holds everything"
: >"$T/again.log"
sql "$db" 'PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(v) VALUES(2)' >/dev/null
start again replicate "$db" "file://$r"
wait_for 20 says again 'new generation.*restarted while nobody watched'
ok $? "old copies are not taken for new ones"
stop "$PID"

note "damaged or missing copies"
db=$T/damaged.db r=$T/damaged.r
g=$(python3 "$SOURCE/test/tools/leave03.py" "$db" "$r" lag)
printf 'xxxx' | dd of="$T/.damaged.db-litestream/generations/$g/wal/00000001.wal" bs=1 conv=notrunc 2>/dev/null
start damaged replicate "$db" "file://$r"
wait_for 20 says damaged 'cannot be taken over.*00000001.wal: does not begin as a WAL'
ok $? "a damaged copy is named"
wait_for 20 replica_has "$r" 'SELECT count(*) FROM t' "$(sql "$db" 'SELECT count(*) FROM t')"
ok $? "and a new generation holds everything"
stop "$PID"

done_testing
