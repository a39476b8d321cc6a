#!/bin/sh
# Build .venv from the hashed locks: `scripts/environment.sh runtime` or `scripts/environment.sh dev`.
#
# Wheels come from the registry that pip is configured for; nothing is installed whose hash is not in requirements/.
# uv does the work because it is quick; where it cannot reach the registry, pip does the same, with the same hashes.
set -eu
cd "$(dirname "$0")/.."

kind=$1
lock=requirements/$kind.lock
venv=.venv

say() { printf '%s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# A version manager leaves shims for versions that are not installed, so a name in PATH proves nothing: run it.
is_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    is_enough "$PYTHON" || stop "PYTHON=$PYTHON does not run, or is older than Python 3.11."
    printf '%s\n' "$PYTHON"
    return
  fi
  for name in python3.13 python3.12 python3.11 python3; do
    if is_enough "$name"; then
      printf '%s\n' "$name"
      return
    fi
  done
  stop "Python 3.11 or newer is needed and none was found: install one, or name it with PYTHON=/path/to/python3."
}

make_venv() {
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    stop "$python cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt-get install python3-venv)."
  say "making $venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
}

# uv reads neither pip's registry nor, unless told, the certificates of the system.
follow_pip() {
  index=${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$index"
  fi
  if [ -z "${SSL_CERT_FILE:-}" ]; then
    if [ -n "${PIP_CERT:-}" ]; then
      export SSL_CERT_FILE="$PIP_CERT"
    elif [ -f /etc/ssl/certs/ca-certificates.crt ]; then
      export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
    fi
  fi
}

with_pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

install_locked() {
  if ! "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r "$1"; then
    say "uv could not install $1; trying pip"
    with_pip --require-hashes -r "$1"
  fi
}

case $kind in
  runtime | dev) ;;
  *) stop "usage: scripts/environment.sh runtime|dev" ;;
esac

is_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
with_pip --require-hashes -r requirements/build.lock
follow_pip
say "installing $lock"
install_locked "$lock"
with_pip --no-deps --no-build-isolation --no-index --editable .

# The development environment holds all that the server needs.
touch "$venv/.runtime-stamp"
if [ "$kind" = dev ]; then touch "$venv/.dev-stamp"; fi
