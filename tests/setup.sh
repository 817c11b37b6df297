#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a Debian 12 machine ready for `make test` and `make demo`: Debian packages, .venv with the pinned Python
# packages, and a home directory of the project's own in .cache/home. Run again, it does only what is missing.

set -euo pipefail
cd "$(dirname "$0")/.."

packages=(git python3-venv openssh-client haproxy nginx-light prometheus victoria-metrics postgresql golang-go golang-github-vmware-govmomi-dev shellcheck)
requirements=tests/requirements.txt
policy=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*"; }

fail() {
    say "$*" >&2
    exit 1
}

is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then env "$@"; else sudo env "$@"; fi
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }
}

apt_install() {
    as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

# The services of these packages are not started, now or at the next boot: the tests start what they need themselves.
install_packages() {
    can_be_root || fail "Debian packages are missing and there is no root or sudo here to install them: $*"
    say "installing Debian packages: $*"
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    # Package lists that are absent or out of date make the first try fail.
    apt_install "$@" >.cache/apt.log 2>&1 || {
        as_root apt-get update --quiet >>.cache/apt.log 2>&1
        apt_install "$@" >>.cache/apt.log 2>&1
    } || fail "installing Debian packages failed; the end of .cache/apt.log: $(tail --lines=3 .cache/apt.log | tr '\n' ' ')"
    if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
        local service
        for service in haproxy nginx prometheus prometheus-node-exporter postgresql; do
            case " $* " in *" ${service%-node-exporter}"*) as_root systemctl disable --quiet "$service" 2>/dev/null || : ;; esac
        done
    fi
}

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 to 3.13 with the modules venv and ensurepip is needed: apt-get install python3-venv"
}

# A directory for all that the tools would leave in the user's home: ansible-test's environments, ansible-lint's copy
# of the collection (which would shadow the checkout), antsibull's files. pip keeps the user's settings and cache.
make_home() {
    local home="$PWD/.cache/home" name
    mkdir -p "$home/.ansible/test/cache" "$home/.config" "$home/.cache"
    for name in .config/pip .pip .cache/pip; do
        if [ -e "$HOME/$name" ] && [ ! -e "$home/$name" ]; then ln -s "$HOME/$name" "$home/$name"; fi
    done
    # ansible-test bootstraps its environments with a get-pip script that it fetches from its makers' server; this one
    # does the same from Python's own ensurepip and the package index that pip is set up for.
    local get_pip="$home/.ansible/test/cache/get_pip_24_2.py"
    cmp --silent tests/get_pip.py "$get_pip" || cp tests/get_pip.py "$get_pip"
}

make_venv() {
    local python stamp
    python=$(find_python)
    stamp="$("$python" --version) $(sha256sum <"$requirements") $PWD"
    [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && return
    say "installing $(grep -c == "$requirements") Python packages into .venv, about a minute"
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements" \
        >.cache/pip.log 2>&1 || fail "pip failed; the end of .cache/pip.log: $(tail --lines=3 .cache/pip.log | tr '\n' ' ')"
    .venv/bin/python -m pip check --quiet >>.cache/pip.log 2>&1 || fail "pip check failed: $(tail --lines=3 .cache/pip.log)"
    printf '%s\n' "$stamp" >.venv/stamp
}

command -v dpkg-query >/dev/null || fail "this needs Debian 12 or a system like it"
mkdir -p .cache
exec 9>.cache/setup.lock
flock 9
missing=()
for package in "${packages[@]}"; do is_installed "$package" || missing+=("$package"); done
if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi
make_venv
make_home
