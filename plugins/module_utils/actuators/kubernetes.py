# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standbys that are replicas of a Deployment or a StatefulSet: asleep is not there, awake is scaled up to.

Replicas come and go in order, so the standbys of a workload are an ordered list: the first of them is the first replica
beyond those that always run. All orders of a task become one write to the workload's scale, under the version it was read
at, so that a change by other hands in between is seen and not undone.
"""

from __future__ import annotations

import pathlib
import typing as t

from .. import timing
from ..errors import AuthenticationFailed, CertificateRejected, ConnectionFailed, InvalidOption, NotFound
from ..libraries import requests
from .power import Answer, Order, Provider, Server, UnknownServer

_KINDS = {"deployment": "deployments", "statefulset": "statefulsets"}


class Kubernetes(Provider):
    """Scales one workload through the Kubernetes API.

    :param spec: The checked option V(kubernetes).
    """

    def __init__(self, spec: t.Mapping[str, t.Any], *, parallel: int = 16) -> None:
        super().__init__(parallel=parallel)
        kind, _slash, self._name = spec["workload"].partition("/")
        if kind not in _KINDS or not self._name:
            raise InvalidOption(
                f"{spec['workload']!r} is not a workload",
                option="kubernetes.workload",
                remedy="Write deployment/name or statefulset/name",
            )
        if spec["replicas"] < 0:
            raise InvalidOption(f"{spec['replicas']} is below 0", option="kubernetes.replicas", remedy="Give 0 or more")
        self._ordinal = kind == "statefulset"
        self._base, self._servers = spec["replicas"], list(spec["servers"])
        url, space = spec["url"].rstrip("/"), spec["namespace"]
        self._scale = f"{url}/apis/apps/v1/namespaces/{space}/{_KINDS[kind]}/{self._name}/scale"
        self._pods = f"{url}/api/v1/namespaces/{space}/pods"
        self._seconds = timing.duration(spec["timeout"], "kubernetes.timeout")
        self._token = spec["token_file"]
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = (spec["ca_path"] or True) if spec["validate_certs"] else False
        if spec["client_cert"]:
            self._session.cert = (
                (spec["client_cert"], spec["client_key"]) if spec["client_key"] else spec["client_cert"]
            )

    def names(self) -> list[str]:
        return list(self._servers)

    def look(self, names: t.Collection[str]) -> dict[str, Server]:
        places = {name: self._place(name) for name in names}
        scale = self._call("GET", self._scale)
        pods = self._numbered(scale.get("status", {}).get("selector", ""))
        awake = scale["spec"].get("replicas", 0) - self._base
        return {
            name: _awake(pods, self._base + place) if place < awake else Server(power="off")
            for name, place in places.items()
        }

    def act(self, name: str, order: Order) -> Answer:
        return self.order({name: order})[name]

    def order(self, orders: t.Mapping[str, Order]) -> dict[str, Answer]:
        """All orders in one write."""
        try:
            scale = self._call("GET", self._scale)
            awake = scale["spec"].get("replicas", 0) - self._base
            count, answers = self._fitting(orders, awake)
            # Fewer than those that always run, or more than there are standbys, is the work of others: it stays so.
            if count != max(0, min(awake, len(self._servers))):
                scale["spec"]["replicas"] = self._base + count
                self._call("PUT", self._scale, scale)
        except _Conflict:
            return dict.fromkeys(orders, Answer("look", "the workload was changed meanwhile"))
        except ConnectionFailed as exc:
            return dict.fromkeys(orders, Answer("lost", exc.problem))
        except (AuthenticationFailed, NotFound, InvalidOption) as exc:
            return dict.fromkeys(orders, Answer("refused", exc.problem))
        return answers

    def close(self) -> None:
        self._session.close()

    def _fitting(self, orders: t.Mapping[str, Order], awake: int) -> tuple[int, dict[str, Answer]]:
        """How many standbys there shall be, and which orders that leaves unfulfilled."""
        beyond = max(0, awake - len(self._servers))
        awake = max(0, min(awake, len(self._servers)))
        sleeping = set() if beyond else {name for name, order in orders.items() if order != "on"}
        stay = [place for place in range(awake) if self._servers[place] not in sleeping]
        count = max(stay, default=-1) + 1
        while count < len(self._servers) and orders.get(self._servers[count]) == "on":
            count += 1
        answers = {}
        for name, order in orders.items():
            there = self._place(name) < count
            answers[name] = Answer("accepted")
            if order == "on" and not there:
                answers[name] = Answer("refused", f"replicas come in order, and {self._servers[count]} comes before it")
            if order != "on" and there:
                after = f"{self._servers[count - 1]} stays awake after it"
                if beyond:
                    after = f"others scaled {self._name} to {beyond} beyond its standbys"
                answers[name] = Answer("refused", f"replicas go in order, and {after}")
        return count, answers

    def _place(self, name: str) -> int:
        if name not in self._servers:
            raise UnknownServer(
                name, f"{name!r} is no standby of {self._name}", remedy="Name it in kubernetes.servers, in its order"
            )
        return self._servers.index(name)

    def _numbered(self, selector: str) -> dict[int, dict[str, t.Any]]:
        """The pod of each replica, by the replica's number from 0 on."""
        found = self._call("GET", self._pods, params={"labelSelector": selector}).get("items", [])
        pods = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        if self._ordinal:
            numbers = [(pod["metadata"]["name"].rpartition("-")[2], pod) for pod in pods]
            return {int(number): pod for number, pod in numbers if number.isdigit()}
        # Replicas of a Deployment have no numbers: those that were ready first count first, and go last.
        return dict(enumerate(sorted(pods, key=_seniority)))

    def _call(
        self, method: str, url: str, body: dict[str, t.Any] | None = None, params: dict[str, str] | None = None
    ) -> dict[str, t.Any]:
        """One request, and the object that it answers with.

        :raises ConnectionFailed: when there is no answer, or the server has trouble.
        """
        headers = {"Accept": "application/json"}
        if self._token:
            # It is renewed in place, so it is read anew each time.
            try:
                headers["Authorization"] = f"Bearer {pathlib.Path(self._token).read_text(encoding='utf-8').strip()}"
            except OSError as exc:
                raise InvalidOption(
                    f"it can't be read: {exc.strerror}", option="kubernetes.token_file", remedy="Check path and rights"
                ) from exc
        try:
            reply = self._session.request(method, url, json=body, params=params, headers=headers, timeout=self._seconds)
        except requests.exceptions.SSLError as exc:
            raise CertificateRejected(
                f"the certificate of {url} is not trusted", option="kubernetes.ca_path",
                remedy="Give the PEM file of the authority that signed it",
            ) from exc  # fmt: skip
        except requests.exceptions.RequestException as exc:
            raise ConnectionFailed(f"the Kubernetes API does not answer: {exc}", option="kubernetes.url") from exc
        except OSError as exc:
            raise InvalidOption(
                str(exc), option="kubernetes", remedy="Check ca_path, client_cert and client_key"
            ) from exc
        if not reply.ok:
            raise _failure(reply, url)
        try:
            return reply.json()
        except ValueError as exc:
            raise ConnectionFailed(f"what answers at {url} is not the Kubernetes API", option="kubernetes.url") from exc


class _Conflict(Exception):
    """The object was changed since it was read."""


def _failure(reply: t.Any, url: str) -> Exception:
    """What a status other than success means."""
    try:
        said = str(reply.json().get("message", reply.reason))
    except ValueError:
        said = str(reply.reason)
    if reply.status_code == 409:
        return _Conflict()
    if reply.status_code in (401, 403):
        return AuthenticationFailed(
            f"the Kubernetes API refuses: {said}", option="kubernetes.token_file",
            remedy="The account needs get and update on the workload's scale, and list on pods",
        )  # fmt: skip
    if reply.status_code == 404:
        return NotFound(f"the Kubernetes API has no {url}: {said}", option="kubernetes.workload")
    if reply.status_code >= 500 or reply.status_code == 429:
        return ConnectionFailed(f"the Kubernetes API is in trouble: {said}", option="kubernetes.url")
    return InvalidOption(f"the Kubernetes API refuses: {said}", option="kubernetes")


def _awake(pods: dict[int, dict[str, t.Any]], number: int) -> Server:
    """A replica that is asked for, by the pods there are."""
    pod = pods.get(number)
    if pod is None:
        # A StatefulSet makes a pod when those before it are ready.
        waiting = next(
            (pods[other] for other in sorted(pods) if other < number and not _ready_since(pods[other])), None
        )
        return Server(power="on", lacks=f"it had no pod{f', and {_unready(waiting)}' if waiting else ''}")
    if _ready_since(pod):
        return Server(power="on", up=True, ip=pod["status"]["podIP"])
    return Server(power="on", lacks=f"its {_unready(pod)}")


def _unready(pod: dict[str, t.Any]) -> str:
    """That it is not ready, and why, as far as Kubernetes says."""
    why = _hindrance(pod)
    return f"pod {pod['metadata']['name']} was not ready{f' ({why})' if why else ''}"


def _conditions(pod: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {item["type"]: item for item in pod.get("status", {}).get("conditions", [])}


def _ready_since(pod: dict[str, t.Any]) -> str | None:
    """Since when it serves, if it does."""
    ready = _conditions(pod).get("Ready", {})
    return ready["lastTransitionTime"] if ready.get("status") == "True" and pod["status"].get("podIP") else None


def _seniority(pod: dict[str, t.Any]) -> tuple[bool, str, str, str]:
    """What pods are sorted by: the ones that are ready, from the first on, then the others, from the oldest on."""
    since, meta = _ready_since(pod), pod["metadata"]
    return since is None, since or "", meta["creationTimestamp"], meta["name"]


def _hindrance(pod: dict[str, t.Any]) -> str:
    """What its status says of why it is not ready."""
    conditions = _conditions(pod)
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return conditions["PodScheduled"].get("message", "")
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    return conditions.get("Ready", {}).get("message", "")
