#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scripts/fuzz.sh BUILD_DIR SECS: every fuzz target first over its corpus, then SECS seconds on its own. What it
# finds is kept in BUILD_DIR/fuzz and named. FUZZ_SEED=n begins the same way each time, as CI does: there it looks whether a
# change breaks something, and what luck finds is for longer runs.
set -eu
cd "$(dirname "$0")/.."
build=$1 secs=$2
mkdir -p "$build/fuzz"
passed=0 failed=0
for target in "$build"/test/fuzz_*; do
  [ -f "$target" ] && [ -x "$target" ] || continue
  name=${target##*/fuzz_}
  corpus=test/fuzz/corpus/$name
  found=$build/fuzz/$name
  log=$build/fuzz/$name.log
  mkdir -p "$found"
  if "$target" -max_total_time="$secs" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$build/fuzz/$name-" \
    -seed="${FUZZ_SEED:-0}" -print_final_stats=1 "$found" "$corpus" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $secs s, none bad"
  else
    failed=$((failed + 1))
    tail -n 40 "$log"
    echo "fuzz $name: FAILED, the input is $(ls -t "$build/fuzz/$name-"* 2>/dev/null | head -n 1)"
  fi
done
[ "$passed" -gt 0 ] || failed=$((failed + 1))
echo "fuzz: $passed targets passed, $failed failed"
[ "$failed" -eq 0 ]
