#!/bin/sh
# Write requirements/*.lock anew from pyproject.toml.
#
# Nothing younger than a week is taken: most poisoned releases are found and withdrawn within days. No address of a
# registry is written, so that everybody's own registry serves the same files, checked by hash.
set -eu
cd "$(dirname "$0")/.."

python=.venv/bin/python
week_ago=$("$python" -c 'from datetime import *; print((datetime.now(timezone.utc) - timedelta(days=7)).date())')

compile() {
  lock=$1
  shift
  .venv/bin/uv pip compile "$@" --quiet --output-file "requirements/$lock" --generate-hashes --universal \
    --python-version 3.11 --exclude-newer "$week_ago" --no-emit-index-url --no-emit-find-links --no-header >/dev/null
}

compile runtime.lock pyproject.toml "$@"
compile dev.lock pyproject.toml --extra dev "$@"
for extra in build fuzz; do
  "$python" -c '
import sys, tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*extras[sys.argv[1]], sep="\n")
' "$extra" | compile "$extra.lock" - "$@"
done
