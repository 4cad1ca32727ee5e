#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A follower whose stream is damaged on its way: bytes that changed, cuts at the ends of records. Each sample is a
# follower of its own; the seed in the output repeats a run.
. "${0%/*}/lib.sh"

seed=${DAMAGE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
samples=${DAMAGE_SAMPLES:-24}
for what in extended plain; do
  more=()
  [ $what = extended ] || more=(-plain "$SOURCE/test/golden/live/page1024")
  TMPDIR=$T python3 "$SOURCE/test/live/damage.py" -n "$samples" -seed "$seed" ${more[@]+"${more[@]}"} "$WALBROOK_BUILD" \
    >"$T/damage.out" 2>&1
  rc=$?
  sed 's/^/# /' "$T/damage.out"
  [ $rc -eq 0 ] || keep
  ok $rc "a damaged $what stream shows nobody a wrong state, and is said (DAMAGE_SEED=$seed DAMAGE_SAMPLES=$samples)"
done

done_testing
