#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The torture as one test of `make test`: TORTURE_SECS seconds of it. A failure names the seed that repeats it.
. "${0%/*}/lib.sh"

seed=${TORTURE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
secs=${TORTURE_SECS:-20}
"$WALBROOK_BUILD/test/torture" -secs "$secs" -seed "$seed" -walbrook "$WALBROOK" -dir "$T" >"$T.out" 2>&1
rc=$?
sed 's/^/# /' "$T.out"
rm -f "$T.out"
[ $rc -eq 0 ] || keep
ok $rc "torture for $secs s (again: make torture SECS=$secs SEED=$seed)"

done_testing
