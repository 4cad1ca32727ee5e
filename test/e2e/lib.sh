# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the end-to-end tests share: TAP, a temporary directory $T of one's own, waiting with a bound, and starting and
# stopping walbrook. Source it first: . "${0%/*}/lib.sh"
#
#   ok $? "it works"; is "$got" "$want" "the same"; like "$text" 'ERE' "says so"; done_testing (last)
#   run walbrook restore …                       sets $out (both outputs) and $rc; ended after $LIMIT s (60)
#   start NAME replicate …; stop $PID            in the background; log in $T/NAME.log; stop sets $rc
#   wait_for 10 test -e "$T/file"                polls until it is true, fails after 10 s
#
# At the end every process that was started here, and no other, is killed, and $T is removed. A test that has failed
# prints the logs that are in $T.

set -u
SOURCE=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
WALBROOK_BUILD=${WALBROOK_BUILD:-$SOURCE/build}
WALBROOK=${WALBROOK:-$WALBROOK_BUILD/walbrook}
T=$(mktemp -d "${TMPDIR:-/tmp}/walbrook-test.XXXXXX")
export LC_ALL=C.UTF-8

tap_n=0 tap_failed=0 tap_done=no kept=no explains=no
PIDS=()

at_end() {
  local status=$? pid
  for pid in ${PIDS[@]+"${PIDS[@]}"}; do
    kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  done
  if [ "$tap_failed" -gt 0 ] || [ "$tap_done" = no ]; then
    tail -n 25 "$T"/*.log 2>/dev/null | sed 's/^/# /'
    [ "$status" -ne 0 ] || status=1
  fi
  [ ! -d "$T/disk" ] || umount "$T/disk" 2>/dev/null
  if [ "$kept" = yes ]; then
    echo "# kept: $T"
  else
    chmod -R u+rwX "$T" 2>/dev/null
    rm -rf "$T"
  fi
  exit "$status"
}
trap at_end EXIT
trap 'exit 1' INT TERM HUP

keep() { # leave $T where it is
  kept=yes
}

# The plan comes last: a test that ends early has none, and that is a failure.
done_testing() {
  echo "1..$tap_n"
  tap_done=yes
}

# Behind a test that has failed it explains why: then also on standard error, as prove shows nothing else.
note() {
  printf '%s\n' "$*" | sed 's/^/# /'
  [ "$explains" = no ] || printf '%s\n' "$*" | head -n 40 | cut -c 1-300 | sed 's/^/#   /' >&2
}

# What a run that shows only the results would not: the name of the test, and what the daemon said last.
tell_why() { # TEST
  local log
  log=$(ls -t "$T"/*.log 2>/dev/null | head -n 1)
  {
    echo "# failed: ${0##*/} $1"
    [ -z "$log" ] || tail -n 12 "$log" | cut -c 1-300 | sed 's/^/#   /'
  } >&2
}

ok() { # STATUS DESCRIPTION: 0 is good
  local what=${2//#/\\#} # a bare # begins a directive
  tap_n=$((tap_n + 1))
  if [ "$1" -eq 0 ]; then
    explains=no
    echo "ok $tap_n - $what"
  else
    explains=yes
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_n - $what"
    tell_why "$tap_n - $what"
    return 1
  fi
}

is() { # GOT WANT DESCRIPTION
  if [ "$1" = "$2" ]; then
    ok 0 "$3"
  else
    ok 1 "$3"
    note "got:  $1
want: $2"
    return 1
  fi
}

like() { # TEXT ERE DESCRIPTION
  if printf '%s\n' "$1" | grep -Eq -- "$2"; then
    ok 0 "$3"
  else
    ok 1 "$3"
    note "got:        $1"
    note "should fit: $2"
    return 1
  fi
}

skipped() { # N REASON: N tests that cannot be made here
  local i
  for ((i = 0; i < $1; i++)); do
    tap_n=$((tap_n + 1))
    echo "ok $tap_n # SKIP $2"
  done
}

wait_for() { # SECONDS COMMAND…
  local limit_s=$1 until_s=$((SECONDS + $1))
  shift
  while ! "$@"; do
    if [ "$SECONDS" -ge "$until_s" ]; then
      note "waited $limit_s s in vain: $*"
      return 1
    fi
    sleep 0.05
  done
}

run() { # COMMAND…: sets $out and $rc; `walbrook` is the one under test
  [ "$1" != walbrook ] || set -- "$WALBROOK" "${@:2}"
  rc=0
  out=$(timeout --foreground -k 5 "${LIMIT:-60}" "$@" </dev/null 2>&1) || rc=$?
}

start() { # NAME ARGUMENT…: walbrook in the background; sets $PID
  local name=$1
  shift
  "$WALBROOK" "$@" </dev/null >>"$T/$name.log" 2>&1 &
  PID=$!
  PIDS+=("$PID")
}

ended() { # PID
  ! kill -0 "$1" 2>/dev/null
}

reap() { # PID SECONDS: waits for its end and sets $rc (124: it did not end, and was killed)
  if wait_for "$2" ended "$1"; then
    rc=0
    wait "$1" || rc=$?
  else
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    rc=124
  fi
}

stop() { # PID [SIGNAL] [SECONDS]: asks it to end; sets $rc
  kill "-${2:-TERM}" "$1" 2>/dev/null
  reap "$1" "${3:-30}"
}

says() { # NAME ERE: the log of NAME has such a line
  grep -Eqs -- "$2" "$T/$1.log"
}

# A small disk of its own at $T/disk, where one may be mounted (at the end it goes away). Fails where not.
small_disk() { # SIZE
  mkdir "$T/disk" && mount -t tmpfs -o "size=$1" tmpfs "$T/disk" 2>/dev/null
}

sql() { # DATABASE SQL…
  sqlite3 -batch -cmd '.timeout 10000' "$@"
}

generations() { # REPLICA: how many
  ls "$1/generations" 2>/dev/null | wc -l
}

# The replica restores, and the restored database answers SQL with WANT. Restores into a probe that is thrown away.
replica_has() { # REPLICA SQL WANT
  local probe=$T/probe.$RANDOM got
  "$WALBROOK" restore -o "$probe" "$1" >"$probe.out" 2>&1
  got=$(sqlite3 -batch "$probe" "$2" 2>/dev/null)
  rm -f "$probe" "$probe"-* "$probe.out"
  [ "$got" = "$3" ]
}

# Restores REPLICA and compares the whole content with DATABASE, which nobody writes to now; prints what differs. Looks
# at a copy of DATABASE: whoever opens and closes the file itself as the last one tidies its WAL away.
restores_to() { # REPLICA DATABASE
  local o=$T/restored.$RANDOM bad=0
  cp "$2" "$o.source"
  [ ! -e "$2-wal" ] || cp "$2-wal" "$o.source-wal"
  if ! "$WALBROOK" restore -o "$o" "$1" >"$o.out" 2>&1; then
    note "$(cat "$o.out")"
    bad=1
  elif [ "$(sqlite3 "$o" 'PRAGMA integrity_check')" != ok ]; then
    note "the restored database is not sound"
    bad=1
  elif ! diff <(sqlite3 "$o.source" .dump) <(sqlite3 "$o" .dump) >"$o.diff" 2>&1; then
    note "the restored database differs:" "$(head -n 5 "$o.diff")"
    bad=1
  fi
  rm -f "$o" "$o"-* "$o".*
  return "$bad"
}
