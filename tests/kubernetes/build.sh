#!/usr/bin/env bash
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Builds what tests/simulators/kubernetes_cluster.py runs, from Debian's source package of Kubernetes, into
# .cache/kubernetes/bin; etcd is Debian's own program. Nothing is installed. It takes five minutes of two idle processors, and
# 3 GB of disk meanwhile; once built, it does nothing until this file changes.

set -euo pipefail
here=$(realpath "$0")
cd "$(dirname "$here")/../.."
mkdir -p .cache/kubernetes
cache=$PWD/.cache/kubernetes
programs=(kube-apiserver kube-controller-manager kube-scheduler kubemark)
stamp=$(sha256sum <"$here")

exec 9>"$cache/lock"
flock 9
[ "$(cat "$cache/bin/stamp" 2>/dev/null)" = "$stamp" ] && exit
rm -rf "${cache:?}/bin" "$cache/build"
mkdir -p "$cache/bin" "$cache/build/lists/partial" "$cache/build/tmp"
cd "$cache/build"

# Package lists of our own, of the mirror that the system uses: sources are rarely among the system's.
codename=$(sed --quiet 's/^VERSION_CODENAME=//p' /etc/os-release)
# shellcheck disable=SC2016 # the dollar is apt's
mirror=$(apt-get indextargets --format '$(SITE)' "Codename: $codename" 'Origin: Debian' 'Component: main' | sed --quiet 1p)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for type in deb deb-src; do printf '%s [signed-by=%s] %s %s main\n' "$type" "$keys" "$mirror" "$codename"; done >sources.list
apt() {
    apt-get --quiet=2 -o "Dir::Etc::SourceList=$PWD/sources.list" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$PWD/lists" -o APT::Sandbox::User=root "$@"
}
apt update
apt source --download-only kubernetes
apt download etcd-server
dpkg-deb --extract etcd-server_*.deb etcd
cp etcd/usr/bin/etcd "$cache/bin"

source=$PWD/go/src/k8s.io/kubernetes
mkdir -p "$source"
tar --extract --strip-components=1 --directory="$source" --file kubernetes_*.orig.tar.gz
cd "$source"

# A hollow node listens on every address, gives its pods one that is nowhere, and takes a socket that is the same for all
# nodes of a machine. These keep it on loopback, and several apart.
replace() {
    grep --quiet --fixed-strings "$2" "$1"
    sed --in-place "s|$2|$3|" "$1"
}
replace pkg/kubemark/hollow_kubelet.go 'c.Address = "0.0.0.0"' 'c.Address = "127.0.0.1"'
replace staging/src/k8s.io/cri-api/pkg/apis/testing/fake_runtime_service.go '"192.168.192.168"' '"127.0.0.1"'
cat >pkg/kubelet/cri/remote/fake/endpoint.go <<'GO'
package fake

import "os"

// GenerateEndpoint puts the socket among the temporary files of its process.
func GenerateEndpoint() (string, error) { return "unix://" + os.TempDir() + "/runtime.sock", nil }
GO

export GOPATH=$cache/build/go GOCACHE=$cache/build/cache GO111MODULE=off GOFLAGS='' CGO_ENABLED=0 TMPDIR=$cache/build/tmp
# The description of the API is not in the sources; it is made from those files that ask for it.
go build -o "$cache/build/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
described() { # the packages below some directories, as Go names them: $1 before their path
    local prefix=$1
    shift
    grep --recursive --files-with-matches --include='*.go' '+k8s:openapi-gen=' "$@" | xargs --max-args=1 dirname |
        grep --invert-match --regexp=code-generator --regexp=sample-apiserver | sort --unique | sed "s|^|$prefix/|"
}
packages=$(described k8s.io/kubernetes pkg cmd plugin && cd staging/src && described k8s.io/kubernetes/vendor k8s.io)
"$cache/build/openapi-gen" --input-dirs "$(paste --serial --delimiters=, <<<"$packages")" \
    --output-package k8s.io/kubernetes/pkg/generated/openapi --output-file-base zz_generated.openapi \
    --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt --report-filename "$cache/build/violations"

version=$(cd "$cache/build" && echo kubernetes_*.orig.tar.gz | sed 's/^kubernetes_//; s/^.*+really//; s/\.orig\.tar\.gz$//')
nice go build -ldflags "-s -w -X k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion=v$version" -o "$cache/bin/" \
    "${programs[@]/#/./cmd/}"
printf '%s\n' "$stamp" >"$cache/bin/stamp"
rm -rf "$cache/build"
