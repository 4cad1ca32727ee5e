#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The crash points: walbrook is stopped at, or gets an error from, each system call that changes a file, and that no such
# call is missing in the table (test/faults/faults.py, which tells more). FULL=1: every call and every fault.
#
# It needs the build with faults (make faults). Beside the sanitizers it would be that same build once more: skipped.
SOURCE=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
build=${WALBROOK_FAULTS_BUILD:-$SOURCE/build-faults}

case ${WALBROOK_BUILD:-$SOURCE/build} in
*-asan | *-ubsan | *-tsan)
  echo "1..0 # SKIP is run with the release build"
  exit 0
  ;;
esac
if [ ! -x "$build/walbrook" ]; then
  echo "1..1"
  echo "not ok 1 - $build/walbrook is not there: make faults"
  exit 1
fi
exec python3 -B "$SOURCE/test/faults/faults.py" "$build/walbrook"
