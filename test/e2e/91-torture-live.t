#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The torture of live replication as one test of `make test`: TORTURE_SECS seconds of it. A failure names the seed.
. "${0%/*}/lib.sh"

seed=${TORTURE_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
secs=${TORTURE_SECS:-20}
python3 "$SOURCE/test/live/torture.py" -secs "$secs" -seed "$seed" -dir "$T" "$WALBROOK_BUILD" >"$T.out" 2>&1
rc=$?
sed 's/^/# /' "$T.out"
rm -f "$T.out"
[ $rc -eq 0 ] || keep
ok $rc "torture of live replication for $secs s (again: make torture-live SECS=$secs SEED=$seed)"

done_testing
