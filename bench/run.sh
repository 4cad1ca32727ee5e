#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# bench/run.sh [quick|full] [PART...]: all benchmarks, or those named (bench/run.sh list). Builds nothing: it uses
# $BUILD/walbrook, $BUILD/bench/* and $BUILD/test/* (BUILD is `build` unless set). Exits 0 unless something broke.
set -eu
cd "$(dirname "$0")/.."
exec python3 bench/bench.py "$@"
