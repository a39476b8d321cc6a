#!/bin/sh
# Make sure that what the tests drive from outside Python is here: Chromium, a PostgreSQL server, a Redis server, Node
# with the browser tests' packages. What is missing is installed where we may (root or password-less sudo, on a
# machine with apt-get); elsewhere one sentence says what to install.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

has_chromium() { has chromium || has chromium-browser || has google-chrome; }

has_postgresql() {
  has initdb && has postgres && return 0
  for bin in /usr/lib/postgresql/*/bin; do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && return 0
  done
  return 1
}

has_redis() { has redis-server || has valkey-server; }

has_node() { has npm && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' >/dev/null 2>&1; }

lockfiles=$(find tests -name node_modules -prune -o -name package-lock.json -print)

missing=
has_chromium || missing="$missing chromium"
has_postgresql || missing="$missing postgresql"
has_redis || missing="$missing redis-server"
if [ -n "$lockfiles" ] && ! has_node; then missing="$missing nodejs npm"; fi

as_root() { if [ "$(id -u)" = 0 ]; then env "$@"; else sudo -n env "$@"; fi; }
may_install() { has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }; }
apt() { as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null; }

# Debian's postgresql makes and starts a cluster of its own. The tests make throw-away ones and want the programs only.
install_postgresql() {
  held=/etc/postgresql-common/createcluster.d/narthex-tests.conf
  apt install --no-install-recommends postgresql-common
  as_root mkdir -p "${held%/*}"
  echo 'create_main_cluster = false' | as_root tee "$held" >/dev/null
  installed=yes
  apt install --no-install-recommends postgresql || installed=no
  as_root rm -f "$held"
  [ "$installed" = yes ]
}

# Debian's redis-server runs one on the usual port from now on. The tests start their own and want the program only.
install_redis() {
  apt install --no-install-recommends redis-server
  if [ -d /run/systemd/system ]; then as_root systemctl disable --quiet --now redis-server; fi
}

if [ -n "$missing" ]; then
  if ! may_install; then
    say "The tests need programs that are not here; install these, or what your system calls them:$missing"
    exit 1
  fi
  say "installing from Debian's packages:$missing"
  apt update
  for package in $missing; do
    case $package in
      postgresql) install_postgresql ;;
      redis-server) install_redis ;;
      *) apt install --no-install-recommends "$package" ;;
    esac
  done
fi

for lockfile in $lockfiles; do
  folder=${lockfile%/*}
  stamp=$folder/node_modules/.narthex-stamp
  if [ ! -e "$stamp" ] || [ "$lockfile" -nt "$stamp" ] || [ "$folder/package.json" -nt "$stamp" ]; then
    say "installing the packages of $folder"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null)
    mkdir -p "${stamp%/*}"
    touch "$stamp"
  fi
done
