#!/usr/bin/env bash
# Checks the models: every configuration must hold, every mutant must be found by the invariant that it is
# meant to break.  Each run is exhaustive: one that hits a limit counts as failed.
#
#   check.sh                all runs, two at a time (-j N for another number)
#   check.sh NAME ...       only these
#   check.sh -t NAME        the shortest way into the violation, step by step
#
# Everything is built in a temporary directory.  Needs spin, a C compiler, and 4 GB of memory.
set -euo pipefail

command -v spin >/dev/null || { echo "check.sh: spin is not installed" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cc=${CC:-cc}
mem_mb=1900	# for each run

# name | what must come out: "holds", or the invariant that is broken | symbols; a line alone names the model
runs() {
  awk '/^$/ {next} !/\|/ {model = $1; next} {gsub(/ *\| */, "|"); print $0 "|" model}' <<'END'
relay
together                  | holds                | COMMITS=2 WITH_BARE WITH_READER WITH_STEP5 WITH_FORCED WITH_WALK WITH_MEET WITH_SNAPSHOT
readers                   | holds                | WITH_BARE WITH_READER
try                       | holds                | COMMITS=2 CHAINS=1 WITH_BARE WITH_TRY
long                      | holds                | COMMITS=4 WITH_BARE
stop                      | holds                | WITH_STOP
old_chain                 | holds                | WITH_OLD_CHAIN WITH_BARE
old_chain_stop            | holds                | COMMITS=2 WITH_OLD_CHAIN WITH_STOP WITH_BARE
raw                       | holds                | COMMITS=2 WITH_SYNC WITH_TORN WITH_ASIDE WITH_BARE WITH_FORCED WITH_WALK WITH_MEET
proofs                    | holds                | COMMITS=2 WITH_PROOFS WITH_BARE WITH_WALK

M_END_FIRST               | RESTART_WAS_CAPTURED | WITH_STEP5
M_NO_GUARD                | NOTHING_HIDDEN       | WITH_STEP5
M_COMMIT_FLAGS            | NOTHING_UNCOMMITTED  | WITH_READER
M_ONE_LOOK                | RESTART_WAS_CAPTURED |
M_COUNT_SALTS             | CHAIN_FOLLOWS        | WITH_STOP
M_NEXT_NAME               | SNAPSHOT_REPLAYS     | WITH_READER WITH_SNAPSHOT
M_WALK_UNLOCKED           | RESTART_WAS_CAPTURED | WITH_READER WITH_WALK
M_WALK_CAPTURE_FIRST      | RESTART_WAS_CAPTURED | WITH_BARE WITH_WALK
M_GUARD_STEP2_ONLY        | NOTHING_HIDDEN       | WITH_STEP5
M_GUARD_STEP2_ONLY        | NOTHING_HIDDEN       | WITH_WALK
M_BUSY_COPIES             | NOTHING_HIDDEN       |
M_BUSY_WALKS              | NOTHING_HIDDEN       | WITH_WALK

M_PROOF_LATE              | NOTHING_HIDDEN       |
M_PROOF_FOR_EVER          | NOTHING_HIDDEN       |
M_NO_FIRST_GUARD          | NOTHING_HIDDEN       |
M_NO_FRAME_COUNT          | HISTORY_IS_OURS      | WITH_STOP
M_NO_CHECKSUM             | HISTORY_IS_OURS      | WITH_STOP
M_NO_GAP_AT_START         | CHAIN_FOLLOWS        | WITH_STOP
M_SALTS_OF_EMPTY_INDEX    | CHAIN_FOLLOWS        | WITH_OLD_CHAIN
M_SNAPSHOT_THROUGH_ROUND  | SNAPSHOT_IS_EXACT    | WITH_READER WITH_SNAPSHOT
M_NO_SYNC_STEP2           | RESTART_WAS_DURABLE  | WITH_SYNC WITH_FORCED
M_NO_SYNC_STEP5           | RESTART_WAS_DURABLE  | WITH_SYNC WITH_FORCED
M_RAW_WAITS               | DEADLOCK             | WITH_TORN WITH_FORCED

M_NO_GUARD                | NOTHING_HIDDEN       | WITH_BARE
M_PARK_UNCAPTURED         | RESTART_WAS_CAPTURED | WITH_BARE WITH_READER
M_PARK_CAPTURE_FIRST      | RESTART_WAS_CAPTURED | WITH_BARE WITH_READER
M_PARK_UNSYNCED           | RESTART_WAS_DURABLE  | WITH_BARE WITH_SYNC
M_MEET_AS_SEEN            | RESTART_WAS_CAPTURED | WITH_BARE WITH_MEET
M_TAKE_SHARED             | READER_IS_WHOLE      | WITH_BARE WITH_READER
M_MARK_FIRST              | READER_IS_WHOLE      | WITH_BARE WITH_READER
M_DROP_BETWEEN            | RESTART_WAS_CAPTURED | COMMITS=2 CHAINS=2 WITH_BARE
M_SNAPSHOT_BARE           | SNAPSHOT_IS_EXACT    | WITH_BARE WITH_READER WITH_SNAPSHOT
M_NO_RECHECK              | READER_IS_WHOLE      | WITH_BARE WITH_TRY
M_HOLDER_OF_EITHER        | NOTHING_HIDDEN       | COMMITS=2 WITH_PROOFS WITH_BARE WITH_WALK
M_CARRY_AGAIN             | NOTHING_HIDDEN       | COMMITS=2 WITH_PROOFS WITH_BARE

content
content                   | holds                | COMMITS=4 WITH_LOSS WITH_HASHES
plain                     | holds                | COMMITS=3 WITH_LOSS WITH_PLAIN

M_COMPLETE_EARLY          | COMMITTED_STATE      | COMMITS=3
M_COMPLETE_OLD            | COMMITTED_STATE      | COMMITS=3
M_COMPLETE_AS_IS          | COMMITTED_STATE      | COMMITS=3
M_MIDDLE                  | COMMITTED_STATE      | COMMITS=3
M_SHOWN_AT_END            | COMMITTED_STATE      | COMMITS=3
M_WINDOW                  | COMMITTED_STATE      | COMMITS=3
M_RESUME_DROPPED          | COMMITTED_STATE      | COMMITS=3
M_SILENT                  | QUIET_IS_EQUAL       | COMMITS=3
M_OVER_GENERATION         | COMMITTED_STATE      | COMMITS=3 WITH_LOSS
M_HASH_EARLY              | COMMITTED_STATE      | COMMITS=3 WITH_HASHES
M_HASH_DROPPED            | COMMITTED_STATE      | COMMITS=3 WITH_HASHES
M_PLAIN_NAME              | COMMITTED_STATE      | COMMITS=3 WITH_PLAIN
M_PLAIN_SPLIT             | COMMITTED_STATE      | COMMITS=3 WITH_PLAIN
M_PLAIN_FUZZY             | COMMITTED_STATE      | COMMITS=3 WITH_PLAIN

chain
chain                     | holds                | COMMITS=4 JUMPS=1
chain_twice               | holds                | COMMITS=3 JUMPS=2

M_CHAIN_FILE              | COMMITTED_STATE      | COMMITS=3
M_CHAIN_FILED_STAYS       | COMMITTED_STATE      | COMMITS=3
M_CHAIN_OVER_CONTENT      | COMMITTED_STATE      | COMMITS=3
M_CHAIN_OF_SPOOL          | COMMITTED_STATE      | COMMITS=3
M_CHAIN_HOLE              | COMMITTED_STATE      | COMMITS=3

follower
one_kill                  | holds                | COMMITS=3 KILLS=1
two_kills                 | holds                | COMMITS=2 KILLS=2

M_MATCH_BY_LENGTH         | POSITION_IS_DATA     | COMMITS=3 KILLS=1
M_EMPTY_LOG               | POSITION_IS_DATA     | COMMITS=3 KILLS=1
M_CHANGE_COUNTS           | POSITION_IS_DATA     | COMMITS=3 KILLS=1
M_RECORD_WITHOUT_BEFORE   | KILL_IS_NO_LOSS      | COMMITS=3 KILLS=1
M_RECORD_LATE             | KILL_IS_NO_LOSS      | COMMITS=3 KILLS=1
M_TWO_STEPS               | COMMITTED_STATE      | COMMITS=3 KILLS=1

lineage
promoted                  | holds                | COMMITS=3 SWITCHES=1
sent_around               | holds                | COMMITS=2 SWITCHES=2
told_any                  | holds                | COMMITS=2 SWITCHES=1 WITH_ANY

M_LENGTH_ONLY             | LINE_GOES_ON         | COMMITS=3 SWITCHES=1
M_NO_LINEAGE              | LINE_GOES_ON         | COMMITS=3 SWITCHES=1
M_LINEAGE_LATE            | LINE_GOES_ON         | COMMITS=2 SWITCHES=1
M_LINEAGE_ONCE            | LINE_GOES_ON         | COMMITS=2 SWITCHES=1 WITH_ANY
M_RESUME_UNPROVEN         | PREFIX               | COMMITS=3 SWITCHES=1
M_CHAIN_BEHIND            | NEVER_BACK           | COMMITS=3 SWITCHES=1
M_SAME_GENERATION         | NEVER_BACK           | COMMITS=3 SWITCHES=1
M_PROMOTE_WITHOUT_LINE    | ONE_WRITER           | COMMITS=3 SWITCHES=1
END
}

# The name of the invariant that an assertion of pan's output stands for.
invariant() {
  local named
  named=$(grep -oE '\|\|[A-Z_]+\)' <<<"$1" | tr -d '|)' || true)
  [[ -z $named ]] || { echo "$named"; return; }
  case $1 in
    *'captured==committed'*) echo RESTART_WAS_CAPTURED ;;
    *'captured<=committed'*) echo NOTHING_UNCOMMITTED ;;
    *'in_file>=committed'*) echo NOTHING_HIDDEN ;;
    *'in_file<=sees'*) echo READER_IS_WHOLE ;;
    *'captured==base'*) echo CHAIN_FOLLOWS ;;
    *'!(rewritten)'*) echo HISTORY_IS_OURS ;;
    *'invalid end state'*) echo DEADLOCK ;;
    *'in_file==snapshot'*) echo SNAPSHOT_IS_EXACT ;;
    *'captured<=next_snapshot'* | *'snapshot<=captured'*) echo SNAPSHOT_REPLAYS ;;
    *) echo "${1:-no verdict}" ;;
  esac
}

# Makes the verifier of one row in the current directory; further arguments are for the compiler.
build() {
  local name=$1 symbols=$2 model=$3 s
  shift 3
  [[ $name == M_* ]] && symbols+=" $name"
  defines=()
  for s in $symbols; do defines+=("-D$s"); done
  spin -a "${defines[@]}" "$here/$model.pml" >spin.log 2>&1 || { cat spin.log; return 1; }
  "$cc" -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=$mem_mb "$@" -o pan pan.c
}

one() {
  local name expected symbols model found verdict label
  IFS='|' read -r name expected symbols model <<<"$1"
  mkdir -p "$work/$BASHPID"
  cd "$work/$BASHPID"
  build "$name" "$symbols" "$model" || { echo "FAILED $name does not build" | tee -a "$work/bad"; return 0; }
  ./pan -m100000 -w24 >out 2>err || true
  if grep -q 'errors: 0$' out && ! grep -Eq 'not completed|out of memory|depth too small' out err; then
    found=holds
  else
    found=$(invariant "$(grep -m1 '^pan:' out | cut -d: -f2- || true)")
  fi
  verdict=ok
  [[ $found == "$expected" ]] || { verdict=FAILED; echo "$name" >>"$work/bad"; }
  label="$name ($(sed -e 's/WITH_//g' <<<"${symbols,,}" | sed -e 's/with_//g'))"
  printf '%-6s %-58s %-21s %9s states  depth %5s  %5s s\n' "$verdict" "$label" "$found" \
    "$(awk '/states, stored/ {print $1}' out)" \
    "$(sed -n -e 's/^pan:.*at depth \([0-9]*\).*/\1/p' -e 's/.*depth reached \([0-9]*\),.*/\1/p' out | head -n 1)" \
    "$(sed -n 's/.*elapsed time \([0-9.e+-]*\) seconds/\1/p' out)"
  [[ $verdict == ok ]] || grep -E '^pan:|error' out err >&2 || true
  rm -rf "$work/$BASHPID"
}

trail() {
  local name expected symbols model
  IFS='|' read -r name expected symbols model <<<"$(runs | grep -m1 "^$1|" || true)"
  [[ -n $name ]] || { echo "check.sh: no run named $1" >&2; return 2; }
  cd "$work"
  build "$name" "$symbols" "$model" -DBFS
  ./pan -w24 >out
  grep '^pan:' out || { echo "$name: no violation"; return 0; }
  spin -k "$model.pml.trail" -t -p -g "${defines[@]}" "$here/$model.pml"
}

if [[ ${1-} == --one ]]; then
  one "$2"
  exit
fi

work=$(mktemp -d)
export work
trap 'rm -rf "$work"' EXIT
jobs=2
while getopts 'j:t:' opt; do
  case $opt in
    j) jobs=$OPTARG ;;
    t) trail "$OPTARG"; exit ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))

selected=$(runs)
if (($# > 0)); then
  selected=$(runs | grep -E "^($(IFS='|'; echo "$*"))\|") || { echo "check.sh: no such run: $*" >&2; exit 2; }
fi
count=$(wc -l <<<"$selected")
: >"$work/bad"
tr '\n' '\0' <<<"$selected" | sed -z '/^$/d' | xargs -0 -P"$jobs" -n1 "${BASH_SOURCE[0]}" --one
failed=$(wc -l <"$work/bad")
echo "$((count - failed)) passed, $failed failed"
((failed == 0))
