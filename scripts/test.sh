#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scripts/test.sh BUILD_DIR [test…]
#
# 1. Runs the unit tests of BUILD_DIR and test/e2e/*.t through prove, or only the tests named (`unit`: all unit
#    tests), TEST_JOBS at a time (3: many of them mostly wait). The tortures come last and take TORTURE_SECS each (0:
#    they are left out).
# 2. In a sanitizer build looks at what the sanitizers wrote, also in processes whose exit status nobody sees.
#
# The last line is "Result: PASS", or the exit status is not 0.
set -eu
cd "$(dirname "$0")/.."
build=$1
shift

WALBROOK_BUILD=$PWD/$build
WALBROOK=$PWD/$build/walbrook
export WALBROOK_BUILD WALBROOK
# The build in which system calls can be made to fail, for the crash tests.
export WALBROOK_FAULTS_BUILD="${WALBROOK_FAULTS_BUILD:-$PWD/build-faults}"
export CMOCKA_MESSAGE_OUTPUT=TAP

# A unit test that ends in a sanitizer's report must not pass, and a report in a daemon that a test ends with kill
# must not be lost: all reports go to files.
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
common="log_path=$reports/report:exitcode=66"
export ASAN_OPTIONS="$common:detect_leaks=1:check_initialization_order=1:strict_string_checks=1"
export UBSAN_OPTIONS="$common:print_stacktrace=1"
export TSAN_OPTIONS="$common:halt_on_error=0:second_deadlock_stack=1"

unit=
for t in "$build"/test/test_*; do
  [ ! -f "$t" ] || unit="$unit $t"
done
[ $# -gt 0 ] || set -- unit test/e2e/*.t
tests=
for t; do
  [ "$t" = unit ] && t=$unit
  case $t in
  test/e2e/9?-torture*.t) [ "${TORTURE_SECS:-20}" != 0 ] || continue ;;
  esac
  tests="$tests $t"
done

rc=0
# shellcheck disable=SC2086  # words: names of tests have no spaces
prove --exec '' --jobs "${TEST_JOBS:-3}" --timer $tests || rc=$?

if [ -n "$(ls "$reports")" ]; then
  cat "$reports"/*
  echo "The sanitizer reported errors (above)."
  echo "Result: FAIL"
  rc=1
fi
exit "$rc"
