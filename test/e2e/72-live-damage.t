#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A follower whose stream is damaged on its way. First every byte of short ones changed, and each cut at every byte, in
# one process (test/live/flip.c); of one that was captured in 2022, which is longer, every 97th. Then some through real
# connections: each sample is a daemon of its own; the seed in the output repeats a run.
. "${0%/*}/lib.sh"

seed=${DAMAGE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
samples=${DAMAGE_SAMPLES:-8}
golden=$SOURCE/test/golden/live/page1024/stream-scratch.bin
step=1
case $WALBROOK_BUILD in *-asan | *-ubsan | *-tsan) step=11 ;; esac
[ -w /dev/shm ] && memory=/dev/shm || memory=$T
for what in extended plain captured; do
  more=() steps=("${DAMAGE_STEP:-$step}")
  case $what in
  plain) more=(-plain) ;;
  captured) more=(-captured "$golden" 1024) steps=(97 -from $((seed % 97))) ;;
  esac
  timeout 60 python3 "$SOURCE/test/live/session.py" ${more[@]+"${more[@]}"} "$WALBROOK_BUILD" "$T/$what" >"$T/flip.out" 2>&1
  ok $? "a session is recorded: $what"
  TMPDIR=$memory timeout 300 "$WALBROOK_BUILD/test/liveflip" -step "${steps[@]}" "$T/$what" >>"$T/flip.out" 2>&1
  rc=$?
  sed 's/^/# /' "$T/flip.out"
  ok $rc "no byte of it can change, and it can be cut nowhere, without being said and mended ($what, -step ${steps[*]})"
  [ $what = extended ] && continue
  TMPDIR=$memory timeout 300 "$WALBROOK_BUILD/test/liveflip" -fuzzy "${DAMAGE_FUZZY:-150}" -seed "$seed" "$T/$what" >"$T/flip.out" 2>&1
  rc=$?
  sed 's/^/# /' "$T/flip.out"
  ok $rc "nobody sees a fuzzy snapshot before its WAL has come ($what, DAMAGE_SEED=$seed)"
done
for what in extended plain; do
  more=()
  [ $what = extended ] || samples=${DAMAGE_SAMPLES:-2} # each waits for the pause that ends its snapshot
  [ $what = extended ] || more=(-plain "$SOURCE/test/golden/live/page1024")
  TMPDIR=$T python3 "$SOURCE/test/live/damage.py" -n "$samples" -seed "$seed" ${more[@]+"${more[@]}"} "$WALBROOK_BUILD" \
    >"$T/damage.out" 2>&1
  rc=$?
  sed 's/^/# /' "$T/damage.out"
  [ $rc -eq 0 ] || keep
  ok $rc "a damaged $what stream shows nobody a wrong state, and is said (DAMAGE_SEED=$seed DAMAGE_SAMPLES=$samples)"
done

done_testing
