#!/usr/bin/env bash
# Everything that is checked without running the code; `make lint` and .ci/run call it. It goes on after a failure and says at the end what failed.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$(dirname "${PYTHON:-.venv/bin/python}")" && pwd)
base=${LINT_BASE:-main}
export PYTHONPATH=services
failed=()

check() {
  echo "== $1"
  "${@:2}" || failed+=("$1")
}

# The protos as they were at the last commit on main before this one; on main itself with nothing changed in them, that is the commit before.
breaking() {
  local before
  if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "no git checkout here: nothing to compare with"
    return 0
  fi
  if ! git rev-parse --verify --quiet "$base" >/dev/null; then
    echo "there is no $base here: nothing to compare with"
    return 0
  fi
  before=$(git rev-parse "$base")
  if [ "$before" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD -- protos/visionyard; then
    before=$(git rev-parse --verify --quiet "$base~1") || {
      echo "$base has no earlier commit: nothing to compare with"
      return 0
    }
  fi
  if ! git cat-file -e "$before:protos/buf.yaml" 2>/dev/null; then
    echo "$before has no protos: nothing to compare with"
    return 0
  fi
  local old status=0
  old=$(mktemp -d)
  git archive "$before" protos | tar -x -C "$old"
  mkdir -p "$old/protos/third_party"
  cp -r protos/third_party/. "$old/protos/third_party/"
  (cd protos && "$bin/buf" breaking --against "$old/protos") || status=1
  rm -rf "$old"
  return $status
}

buf_lint() {
  (cd protos && "$bin/buf" lint --path visionyard)
}

# Google's protos are copied out of their wheel, not committed: a fresh checkout has none yet.
common=$("$bin/python" -c 'import google.rpc; print(list(google.rpc.__path__)[0])')
mkdir -p protos/third_party/google/rpc
cp "$common"/*.proto protos/third_party/google/rpc/

check "ruff check" "$bin/ruff" check services tests
check "ruff format" "$bin/ruff" format --check services tests
check "mypy" "$bin/mypy"
check "import-linter" "$bin/lint-imports"
check "buf lint" buf_lint
check "buf breaking" breaking

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "all clean"
