#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scripts/torture.sh BUILD_DIR SECS [SEED]: the torture program on a directory of its own, which is kept when it fails.
set -eu
cd "$(dirname "$0")/.."
build=$1 secs=$2
seed=${3:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
dir=$(mktemp -d "${TMPDIR:-/tmp}/walbrook-torture.XXXXXX")
rc=0
"$build/test/torture" -secs "$secs" -seed "$seed" -walbrook "$build/walbrook" -dir "$dir" || rc=$?
if [ "$rc" -eq 0 ]; then
  rm -rf "$dir"
else
  echo "Kept for a look: $dir. Again: make torture SECS=$secs SEED=$seed" >&2
fi
exit "$rc"
