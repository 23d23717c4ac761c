#!/bin/bash
# Runs every fuzz target of the repository for $FUZZTIME each (default 10s). Those whose names match the first argument,
# if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' controllers | while IFS=: read -r file _ func; do
  target=${func#func }
  [[ $target =~ ${1:-.} ]] || continue
  echo "== $target, $(dirname "$file")"
  # What is interesting is not made smaller for long: within seconds there is better to do.
  go test "./$(dirname "$file")" -run='^$' -fuzz="^$target\$" -fuzztime="${FUZZTIME:-10s}" -fuzzminimizetime=10x </dev/null
done
