#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scripts/size.sh FILE: the size of the program as it is installed (stripped), and whether it is within the limit.
set -eu
limit=600000
out=$(mktemp)
trap 'rm -f "$out"' EXIT
strip -o "$out" "$1"
bytes=$(wc -c <"$out")
echo "$1 stripped: $bytes bytes (limit $limit)"
[ "$bytes" -le "$limit" ]
