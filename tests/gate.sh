#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The stages of `make test`: all of them, or those named (`search` and `kubernetes` only when named). The first that fails
# ends it.

set -euo pipefail
cd "$(dirname "$0")/.."

stages=(format unit integration sanity units lint docs-lint docs changelog licenses build environment)
root=$PWD
copy=$root/.cache/collections/ansible_collections/lowtide/fleet

users_home=$HOME
export PATH="$root/.venv/bin:$PATH:/usr/sbin"
export HOME="$root/.cache/home"
export ANSIBLE_COLLECTIONS_PATH="$root/.cache/collections"
export PYTHONDONTWRITEBYTECODE=1
# Several processes run at once; threads of numpy's in each would only wait for one another.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
unset ANSIBLE_CONFIG ANSIBLE_HOME GIT_DIR GIT_WORK_TREE

# ansible-test, ansible-lint and antsibull want the collection at the path it is installed to. Each stage gets a fresh
# copy of what git knows or would add: a link to the checkout would bring .venv and .cache along.
copy_collection() {
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

# Ten times the examples of hypothesis, and others than those of `unit`.
stage_search() {
    local _round
    for _round in {1..10}; do
        python -m pytest -n auto -m hypothesis --hypothesis-profile=search tests/unit
    done
}

stage_integration() { python -m pytest tests/integration; }

stage_kubernetes() {
    tests/kubernetes/build.sh
    python -m pytest tests/kubernetes
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

# Runs in a subshell of its own, so that `set -e` holds inside a stage.
run() {
    local stage=$1 start=$SECONDS status=0
    printf '\n=== %s ===\n' "$stage"
    set +e
    (
        set -e
        copy_collection
        "stage_${stage//-/_}"
    )
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        printf '=== %s: FAILED after %d s ===\n' "$stage" "$((SECONDS - start))"
        exit 1
    fi
    printf '=== %s: %d s ===\n' "$stage" "$((SECONDS - start))"
    summary+=("$(printf '%-12s %4d s' "$stage" "$((SECONDS - start))")")
}

[ "$#" -gt 0 ] && stages=("$@")
for stage in "${stages[@]}"; do
    declare -F "stage_${stage//-/_}" >/dev/null || { printf 'There is no stage %s; see %s\n' "$stage" "$0" >&2; exit 2; }
done
summary=()
for stage in "${stages[@]}"; do run "$stage"; done
printf '\n'
printf '%s\n' "${summary[@]}"
printf 'all stages passed in %d s\n' "$SECONDS"
