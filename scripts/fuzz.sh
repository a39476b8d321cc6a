#!/bin/sh
# Fuzz: `scripts/fuzz.sh` for all of it, or with the arguments of `python -m tests.fuzz`.
#
# atheris is wanted here alone and has wheels for some Pythons only, so it is installed here, from its own lock. It is
# not built from source, which needs a compiler of its own. Without it everything else runs.
set -eu
cd "$(dirname "$0")/.."

if ! .venv/bin/python -c 'import atheris' 2>/dev/null; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    -r requirements/fuzz.lock || echo "atheris cannot be installed here; what does not need it runs" >&2
fi
exec nice -n 19 .venv/bin/python -m tests.fuzz "$@"
