#!/usr/bin/env bash
# Generates the Python code of protos/ beside its owners under services/. With a folder as argument, generates there instead (the drift check).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-services}
python=${PYTHON:-.venv/bin/python}
bin=$(cd "$(dirname "$python")" && pwd)
common=$("$python" -c 'import google.rpc, os; print(os.path.dirname(list(google.rpc.__path__)[0] + "/x"))')
mkdir -p protos/third_party/google/rpc
cp "$common"/*.proto protos/third_party/google/rpc/
mapfile -t files < <(cd protos && find visionyard -name '*.proto' | sort)
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I protos -I protos/third_party \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" "${files[@]}"
