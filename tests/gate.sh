#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The stages of `make test`: all of them, or those named. The first that fails ends it.

set -euo pipefail
cd "$(dirname "$0")/.."

stages=(format unit integration sanity units lint docs-lint docs changelog licenses build environment)
# Those of them that only read files. They go on behind the integration tests, which leave some of the processors' time, at the
# least priority; what they print comes in their turn.
behind=(sanity lint docs-lint)
root=$PWD
logs=$root/.cache/behind
collections=$root/.cache/collections

users_home=$HOME
export PATH="$root/.venv/bin:$PATH:/usr/sbin"
export HOME="$root/.cache/home"
export ANSIBLE_COLLECTIONS_PATH="$collections"
export PYTHONDONTWRITEBYTECODE=1
# Several processes run at once; threads of numpy's in each would only wait for one another.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
unset ANSIBLE_CONFIG ANSIBLE_HOME GIT_DIR GIT_WORK_TREE

# ansible-test, ansible-lint and antsibull want the collection at the path it is installed to. Each stage gets a fresh
# copy of what git knows or would add: a link to the checkout would bring .venv and .cache along.
copy_collection() {
    copy=$collections/ansible_collections/lowtide/fleet
    rm -rf "$copy"
    mkdir -p "$copy"
    HOME=$users_home git ls-files -z --cached --others --exclude-standard --deduplicate |
        while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar --create --null --files-from=- | tar --extract --directory="$copy"
    git -C "$copy" init --quiet
}

stage_format() {
    ruff format --check .
    ruff check .
}

stage_unit() { python -m pytest -n auto tests/unit; }

# It mostly waits for servers, boots and load, so two workers share its files, a file being the work of one; more would take
# the time from the load. The paths of unix sockets have at most a hundred letters, hence a short directory, whatever the
# user's name; it is kept when a test fails.
stage_integration() {
    local directory
    directory=$(mktemp --directory /tmp/lowtide.XXXXXX)
    python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
        --durations 10 --basetemp "$directory/tests" tests/integration
    rm -rf "$directory"
}

ansible_test() {
    local command=$1 version
    version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    (cd "$copy" && ansible-test "$command" --local --python "$version" --color no)
}

stage_sanity() { ansible_test sanity; }

stage_units() { ansible_test units; }

stage_lint() { (cd "$copy" && ansible-lint --offline --strict --profile production); }

stage_docs_lint() { (cd "$copy" && antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .); }

stage_docs() { docs/build.sh; }

stage_changelog() { (cd "$copy" && antsibull-changelog lint); }

stage_licenses() { reuse lint --quiet || reuse lint; }

stage_build() {
    rm -rf .cache/build
    ansible-galaxy collection build --output-path .cache/build
    (
        cd .cache/build
        GALAXY_IMPORTER_CONFIG="$root/tests/galaxy-importer.cfg" \
            python -m galaxy_importer.main lowtide-fleet-*.tar.gz 2>&1 | tee importer.log
        # It goes on after some errors.
        ! grep '^ERROR' importer.log >/dev/null
    )
}

stage_environment() { ansible-builder introspect --sanitize .cache/collections; }

# In a subshell of its own, so that `set -e` holds inside a stage; sets status.
perform() {
    set +e
    (
        set -e
        copy_collection
        "stage_${1//-/_}"
    )
    status=$?
    set -e
}

# Each leaves its output, and its status and seconds once it has ended.
perform_behind() {
    local stage start status
    renice --priority 19 "$BASHPID" >/dev/null
    collections=$logs/collections
    export ANSIBLE_COLLECTIONS_PATH="$collections"
    for stage in "$@"; do
        start=$SECONDS
        perform "$stage" >"$logs/$stage.log" 2>&1
        echo "$status $((SECONDS - start))" >"$logs/$stage.unfinished"
        mv "$logs/$stage.unfinished" "$logs/$stage.ended"
    done
}

# Begin those of the stages given, in a process group of their own, which ends with this script.
begin_behind() {
    local stage waiting=()
    for stage in "$@"; do
        [[ " ${behind[*]} " != *" $stage "* ]] || waiting+=("$stage")
    done
    rm -rf "$logs"
    mkdir -p "$logs"
    set -m
    perform_behind "${waiting[@]}" </dev/null &
    group=$!
    set +m
    trap 'kill -- "-$group" 2>/dev/null || true' EXIT
}

# Wait for a stage that was begun, and print what it printed.
await() {
    while [ ! -e "$logs/$1.ended" ]; do
        kill -0 "$group" 2>/dev/null || [ -e "$logs/$1.ended" ] || break
        sleep 0.5
    done
    [ ! -e "$logs/$1.log" ] || cat "$logs/$1.log"
    status=1 seconds=0
    [ ! -e "$logs/$1.ended" ] || read -r status seconds <"$logs/$1.ended"
    place=", behind integration"
}

# Run the first of the stages given; the others follow.
run() {
    local stage=$1 start=$SECONDS status=0 seconds=0 place=""
    printf '\n=== %s ===\n' "$stage"
    [ "$stage" != integration ] || begin_behind "${@:2}"
    if [ -n "$group" ] && [[ " ${behind[*]} " == *" $stage "* ]]; then
        await "$stage"
    else
        perform "$stage"
        seconds=$((SECONDS - start))
    fi
    if [ "$status" -ne 0 ]; then
        printf '=== %s: FAILED after %d s ===\n' "$stage" "$seconds"
        exit 1
    fi
    printf '=== %s: %d s%s ===\n' "$stage" "$seconds" "$place"
    summary+=("$(printf '%-12s %4d s%s' "$stage" "$seconds" "$place")")
}

[ "$#" -gt 0 ] && stages=("$@")
for stage in "${stages[@]}"; do
    declare -F "stage_${stage//-/_}" >/dev/null || { printf 'There is no stage %s; see %s\n' "$stage" "$0" >&2; exit 2; }
done
group=""
summary=()
for first in "${!stages[@]}"; do run "${stages[@]:first}"; done
printf '\n'
printf '%s\n' "${summary[@]}"
printf 'all stages passed in %d s\n' "$SECONDS"
