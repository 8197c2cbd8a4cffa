#!/usr/bin/env bash
# Runs pytest twice at once: lanes.sh WORDS -- WORDS, each part on a stack of its own. What the second says comes at the end.
set -euo pipefail

cd "$(dirname "$0")/.."
first=()
while [[ $1 != -- ]]; do
  first+=("$1")
  shift
done
shift
said=$(mktemp)
beside=

# Interrupted, the second takes its stack down as the first does.
finish() {
  [[ -z $beside ]] || kill -INT -- "-$beside" 2>/dev/null || true
  wait
  rm -f "$said"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A process group of its own hears an interruption.
set -m
.venv/bin/python -B -m pytest -c tests/pytest.ini "$@" >"$said" 2>&1 &
beside=$!
set +m

one=passed other=passed
.venv/bin/python -B -m pytest -c tests/pytest.ini "${first[@]}" || one=FAILED
wait "$beside" || other=FAILED
beside=
cat "$said"
echo "The first part $one, what ran beside it $other."
[[ $one$other == passedpassed ]]
