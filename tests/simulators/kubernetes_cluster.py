# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Kubernetes on loopback: etcd, API server over TLS, controller manager, scheduler and a hollow node.

Only what runs containers is missing: the node is a real kubelet over a runtime that starts nothing. All its pods have the
address 127.0.0.1, where its probes really look. The programs come from ``tests/kubernetes/build.sh``.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import requests
from certificates import Authority
from ports import free_port
from processes import Program, listening

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "kubernetes" / "bin"
NAMESPACE = "shop"
ACCOUNT = "lowtide"
_ADMIN = "administrator"


class KubernetesCluster:
    """One cluster, with a namespace and a service account that has the rights the documentation asks for.

    :param directory: Where data, certificates and logs lie.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        authority = Authority(self.directory / "ca")
        self.ca_path = authority.path
        self._certificate, self._key = authority.sign("apiserver")
        # Certificate and key of a user with the rights of the account.
        self.client = authority.sign(ACCOUNT)
        self._port = free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self._etcd = self._make_etcd()
        self.api = self._make_api()
        self._others = [
            self._program(
                "kube-controller-manager", "--controllers=deployment,replicaset,statefulset", "--leader-elect=false",
                "--port=0", "--secure-port=0", f"--kubeconfig={self._kubeconfig()}",
            ),
            self._program(
                "kube-scheduler", "--leader-elect=false", "--port=0", "--secure-port=0",
                f"--kubeconfig={self._kubeconfig()}",
            ),
            self._program(
                "kubemark", "--morph=kubelet", "--name=hollow", f"--kubelet-port={free_port()}",
                "--kubelet-read-only-port=0", f"--kubeconfig={self._kubeconfig()}", ready=self._node_is_ready,
            ),
        ]  # fmt: skip

    def __enter__(self) -> KubernetesCluster:
        try:
            self._etcd.start()
            self.api.start()
            self._prepare()
            for program in self._others:
                program.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all of it."""
        for program in [*reversed(self._others), self.api, self._etcd]:
            program.stop()

    def ask(self, method: str, path: str, body: t.Any = None, **keywords: t.Any) -> dict[str, t.Any]:
        """One request of an administrator."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        reply = requests.request(
            method, self.url + path, json=body, verify=str(self.ca_path), timeout=30,
            headers={"Authorization": f"Bearer {_ADMIN}", "Content-Type": kind}, **keywords,
        )  # fmt: skip
        if not reply.ok:
            raise RuntimeError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json()

    def token(self, account: str = ACCOUNT) -> str:
        """A new token of a service account."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return self.ask("POST", path, body)["status"]["token"]

    def allow(self, account: str, *rules: dict[str, list[str]]) -> None:
        """A service account with rights of its own, as a role's rules have them."""
        own = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
        self.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": account}})
        self.ask("POST", f"{own}/roles", {"metadata": {"name": account}, "rules": list(rules)})
        self.ask(
            "POST", f"{own}/rolebindings",
            {
                "metadata": {"name": account},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
                "subjects": [
                    {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE},
                    {"kind": "User", "name": account, "apiGroup": "rbac.authorization.k8s.io"},
                ],
            },
        )  # fmt: skip

    def create(self, kind: str, name: str, replicas: int, **container: t.Any) -> None:
        """A workload whose pods are all alike.

        :param kind: V(deployment) or V(statefulset). :param container: Further keys of its pods' container.
        """
        labels = {"app": name}
        pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "web:1", **container}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        body: dict[str, t.Any] = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        if kind == "statefulset":
            body["serviceName"] = name
        self.ask("POST", f"/apis/apps/v1/namespaces/{NAMESPACE}/{kind}s", {"metadata": {"name": name}, "spec": body})

    def scale(self, workload: str, replicas: int | None = None) -> int:
        """How many replicas a workload shall have, after it was told so many."""
        kind, _slash, name = workload.partition("/")
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/{kind}s/{name}/scale"
        if replicas is not None:
            self.ask("PATCH", path, {"spec": {"replicas": replicas}})
        return self.ask("GET", path)["spec"].get("replicas", 0)

    def annotate(self, workload: str, text: str) -> None:
        """Change something of a workload that is of no matter."""
        kind, _slash, name = workload.partition("/")
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/{kind}s/{name}"
        self.ask("PATCH", path, {"metadata": {"annotations": {"note": text}}})

    def ready(self, name: str) -> int:
        """How many pods of a workload are ready."""
        found = self.ask("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", params={"labelSelector": f"app={name}"})
        return sum(
            any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions", []))
            and not pod["metadata"].get("deletionTimestamp")
            for pod in found["items"]
        )

    def wait(self, condition: t.Callable[[], bool], seconds: float = 60.0) -> None:
        """Return when something is so."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:g} s; logs are in {self.directory}")
            time.sleep(0.1)

    def kill_api(self) -> None:
        """End the API server without notice."""
        if self.api.process is not None:
            self.api.process.kill()
        self.api.stop()

    def _prepare(self) -> None:
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self.allow(
            ACCOUNT,
            rule("apps", ["deployments/scale", "statefulsets/scale"], ["get", "update"]),
            rule("", ["pods"], ["list"]),
        )

    def _make_etcd(self) -> Program:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _number in range(2))
        self._store = client
        return self._program(
            "etcd", f"--data-dir={self.directory / 'etcd'}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", ready=lambda: listening("127.0.0.1", int(client.rpartition(":")[2])),
        )  # fmt: skip

    def _make_api(self) -> Program:
        users = self.directory / "users.csv"
        users.touch(mode=0o600)
        users.write_text(f"{_ADMIN},admin,admin,system:masters\n", encoding="utf-8")
        return self._program(
            "kube-apiserver", f"--etcd-servers={self._store}", "--bind-address=127.0.0.1", f"--secure-port={self._port}",
            "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24",
            f"--tls-cert-file={self._certificate}", f"--tls-private-key-file={self._key}",
            f"--client-ca-file={self.ca_path}", f"--token-auth-file={users}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://lowtide.test", f"--service-account-key-file={self._certificate}",
            f"--service-account-signing-key-file={self._key}",
            # Pods need no token, and no controller is there that would take a new node's taint away.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            ready=self._api_is_ready,
        )  # fmt: skip

    def _program(self, name: str, *arguments: str, ready: t.Callable[[], bool] = lambda: True) -> Program:
        # The hollow node keeps its files and its socket among the temporary files.
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        argv = ["env", f"TMPDIR={temporary}", str(PROGRAMS / name), *arguments]
        return Program(argv, log=self.directory / f"{name}.log", ready=ready, deadline=120)

    def _kubeconfig(self) -> pathlib.Path:
        """How the cluster's own parts reach its API."""
        path = self.directory / "kubeconfig.json"
        path.touch(mode=0o600)
        cluster = {"server": self.url, "certificate-authority": str(self.ca_path)}
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "own",
            "clusters": [{"name": "own", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": _ADMIN}}],
            "contexts": [{"name": "own", "context": {"cluster": "own", "user": "admin"}}],
        }
        path.write_text(json.dumps(settings), encoding="utf-8")
        return path

    def _api_is_ready(self) -> bool:
        try:
            reply = requests.get(
                f"{self.url}/readyz", headers={"Authorization": f"Bearer {_ADMIN}"}, verify=str(self.ca_path), timeout=5
            )
        except requests.RequestException:
            return False
        return reply.ok

    def _node_is_ready(self) -> bool:
        nodes = self.ask("GET", "/api/v1/nodes")["items"]
        return any(
            item["type"] == "Ready" and item["status"] == "True"
            for node in nodes
            for item in node["status"].get("conditions", [])
        )


def rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, list[str]]:
    """One rule of a role."""
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
