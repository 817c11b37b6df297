# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Balancers that read their members from a file: Envoy, Traefik and nginx.

The file belongs to Lowtide as a whole. Its first line is a comment with the members as JSON, from which they are read back:
what a member's state and full weight are, no such file could say by itself. It is replaced in one step, so that a balancer
sees the members from before or the new ones and nothing between.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import subprocess
import tempfile
import time
import typing as t

from ..errors import AuthenticationFailed, ConnectionFailed, InvalidOption, LowtideError
from ..libraries import requests
from . import balancer
from .balancer import Change, Status, check_name

MARK = "# lowtide: "
FULL_WEIGHT = 100


def in_service(status: Status) -> bool:
    """Whether a member gets new requests."""
    return status.state == "ready" and status.weight > 0


class MemberFile:
    """A balancer configured by a file of members; an :class:`actuators.balancer.Instance`.

    A provider adds C(render), and what makes the balancer read the file, or tells that it has.

    :param settle: Seconds after a change in which the balancer is given time to read it and to end its requests, where it
        does not tell whether it has.
    """

    most = 1000
    adds = True
    waiting = 0
    option = "file"

    def __init__(self, path: str, backend: str, *, settle: float) -> None:
        self.path = pathlib.Path(path)
        self.label = path
        self.backend = check_name(backend, "backend")
        self.settle = settle

    def render(self, members: dict[str, Status]) -> str:
        """The file's text after its first line."""
        raise NotImplementedError

    def activate(self, members: dict[str, Status]) -> None:
        """Return when the balancer works with these members."""
        time.sleep(self.settle)

    def members(self) -> dict[str, Status]:
        """What the file says; a file that is not there, or empty, has no members.

        :raises InvalidOption: when someone else wrote it. :raises AuthenticationFailed: when it may not be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except OSError as exc:
            raise AuthenticationFailed(
                f"{self.path} can't be read: {exc.strerror}",
                option="file",
                remedy="Run the task as a user who may read it",
            ) from exc
        if not text.strip():
            return {}
        line, _newline, _rest = text.partition("\n")
        if not line.startswith(MARK):
            raise InvalidOption(
                f"{self.path} was not written by Lowtide",
                option="file",
                remedy="Name a file of its own, and have the balancer's configuration include it",
            )
        try:
            kept = json.loads(line.removeprefix(MARK))
            backend, members = kept["backend"], kept["members"].items()
            statuses = {
                name: Status(
                    *(one["state"], one["weight"], one["full_weight"], one["state"] == "ready"),
                    *(one["address"], one["port"]),
                )
                for name, one in members
            }
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise InvalidOption(
                f"the first line of {self.path} can't be read any more ({exc})",
                option="file",
                remedy="Put back what was changed by hand, or remove the file and name all members with address and port",
            ) from exc
        if backend != self.backend:
            raise InvalidOption(
                f"{self.path} holds the backend {backend!r}",
                option="backend",
                remedy="Name that backend, or another file",
            )
        return statuses

    def read(self) -> dict[str, Status]:
        """The members as the file has them; a provider adds what its balancer tells."""
        return self.members()

    def check_rights(self) -> None:
        """Raise unless the file can be replaced."""
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise AuthenticationFailed(
                f"{self.path.parent} can't be written to",
                option="file",
                remedy="Create the directory, or run the task as a user who may write there",
            )

    def apply(self, changes: t.Sequence[Change]) -> None:
        """Write the members with all changes at once, and have the balancer read them if it sees a difference.

        Nobody else's call comes in between. A file that the balancer did not take is put back as it was.

        :raises ConnectionFailed: when the file can't be written, or the balancer does not take it.
        """
        if not changes:
            return
        with self._alone():
            before = self.members()
            members = balancer.after(before, changes)
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
            self._write(self._text(members))
            if self.render(before) == self.render(members):
                return
            try:
                self.activate(members)
            except LowtideError:
                self._write(text)
                raise

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        """Hold a lock on the file's directory: the file itself is replaced. Errors of the file system get their own words."""
        try:
            handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)
        except OSError as exc:
            raise ConnectionFailed(
                f"{self.path} can't be written: {exc.strerror}",
                option="file",
                remedy="Check the directory, its owner, and the space left on its disk",
            ) from exc

    def _text(self, members: dict[str, Status]) -> str:
        kept = {
            name: {key: getattr(one, key) for key in ("state", "weight", "full_weight", "address", "port")}
            for name, one in members.items()
        }
        line = MARK + json.dumps({"backend": self.backend, "members": kept})
        return f"{line}\n{self.render(members)}\n"

    def _write(self, text: str) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self.path.parent, prefix=f".{self.path.name}.", delete=False, encoding="utf-8"
        ) as partial:
            partial.write(text)
            os.fchmod(partial.fileno(), 0o644)
        os.replace(partial.name, self.path)

    def save(self) -> None:
        """Nothing to do: the file is the state."""

    def close(self) -> None:
        """Nothing to end."""


class Envoy(MemberFile):
    """Envoy, which takes a cluster's endpoints from a file (EDS with C(path_config_source)).

    :param admin: Address of Envoy's administration interface, for the figures and to know what Envoy works with.
    """

    def __init__(self, path: str, backend: str, *, settle: float, admin: str | None) -> None:
        super().__init__(path, backend, settle=settle)
        self.admin = admin.rstrip("/") if admin else None

    def render(self, members: dict[str, Status]) -> str:
        """One ClusterLoadAssignment; JSON is YAML. Members out of service are DRAINING, and in maintenance not there."""
        endpoints = [
            {
                "endpoint": {
                    "hostname": name,
                    "address": {"socket_address": {"address": one.address, "port_value": one.port}},
                },
                "load_balancing_weight": max(one.weight, 1),
                "health_status": "HEALTHY" if in_service(one) else "DRAINING",
            }
            for name, one in members.items()
            if one.state != "maintenance"
        ]
        assignment = {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": self.backend,
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        return json.dumps({"resources": [assignment]}, indent=1)

    def activate(self, members: dict[str, Status]) -> None:
        """Wait until Envoy tells the members of the file as its own."""
        if self.admin is None:
            time.sleep(self.settle)
            return
        wanted = {
            f"{one.address}:{one.port}": ("HEALTHY" if in_service(one) else "DRAINING", max(one.weight, 1))
            for one in members.values()
            if one.state != "maintenance"
        }
        end = time.monotonic() + max(self.settle, 5.0)
        while True:
            told = self._hosts()
            seen = {
                key: (host["health_status"]["eds_health_status"], host.get("weight", 1)) for key, host in told.items()
            }
            if all(seen.get(key) == value for key, value in wanted.items()):
                return
            if time.monotonic() > end:
                raise ConnectionFailed(
                    f"Envoy at {self.admin} does not follow {self.path}",
                    option="file",
                    remedy="Check the path_config_source of the cluster, its watched_directory, and Envoy's log",
                )
            time.sleep(0.05)

    def _hosts(self) -> dict[str, t.Any]:
        """What Envoy tells of the cluster's hosts, by address and port."""
        try:
            answer = requests.get(f"{self.admin}/clusters?format=json", timeout=5)
            answer.raise_for_status()
            clusters = answer.json().get("cluster_statuses", [])
        except (requests.RequestException, ValueError, AttributeError) as exc:
            raise ConnectionFailed(
                f"{self.admin} can't be reached: {type(exc).__name__}",
                option="admin",
                remedy="Give the address of Envoy's administration interface, for example http://127.0.0.1:9901",
            ) from exc
        for cluster in clusters:
            if cluster["name"] == self.backend:
                return {_place(host["address"]["socket_address"]): host for host in cluster.get("host_statuses", [])}
        return {}

    def read(self) -> dict[str, Status]:
        """The members with the figures of Envoy, where its administration interface is given."""
        members = self.members()
        if self.admin is None:
            return members
        hosts = self._hosts()
        return {name: _envoy_status(one, hosts.get(f"{one.address}:{one.port}")) for name, one in members.items()}


def _place(address: dict[str, t.Any]) -> str:
    return f"{address['address']}:{address['port_value']}"


def _envoy_status(one: Status, host: dict[str, t.Any] | None) -> Status:
    """A member with what Envoy tells of its host. Envoy tells no latency by host."""
    base = Status(
        one.state, one.weight, one.full_weight, False, one.address, one.port, sessions=0, requests=0, errors=0
    )
    if host is None:
        return base
    figures = {figure["name"]: int(figure.get("value", 0)) for figure in host["stats"]}
    failing = any(host["health_status"].get(f"failed_{kind}") for kind in ("active_health_check", "outlier_check"))
    return Status(
        one.state,
        one.weight,
        one.full_weight,
        up=not failing,
        address=one.address,
        port=one.port,
        checked=not failing and not host["health_status"].get("pending_active_hc"),
        sessions=figures.get("rq_active", 0),
        requests=figures.get("rq_total", 0),
        errors=figures.get("rq_error", 0),
    )


class Traefik(MemberFile):
    """Traefik, which watches a file of its file provider.

    Each member is a service of its own under one weighted service with the name of the backend.
    """

    def render(self, members: dict[str, Status]) -> str:
        """Dynamic configuration; JSON is YAML."""
        services: dict[str, t.Any] = {
            f"{self.backend}-{name}": {"loadBalancer": {"servers": [{"url": _url(one)}]}}
            for name, one in members.items()
        }
        weighted = [
            {"name": f"{self.backend}-{name}", "weight": one.weight if in_service(one) else 0}
            for name, one in members.items()
        ]
        services[self.backend] = {"weighted": {"services": weighted}}
        return json.dumps({"http": {"services": services}}, indent=1)


def _url(one: Status) -> str:
    return f"http://[{one.address}]:{one.port}" if ":" in one.address else f"http://{one.address}:{one.port}"


class Nginx(MemberFile):
    """nginx, which includes an upstream and reads it again when told.

    A reload ends idle keep-alive connections of clients; a request that a client sends at that very moment is lost. Clients
    that retry, or C(keepalive_timeout 0), avoid that. All changes of a call take one reload, and what nginx would not see
    (drain or maintenance: both are C(down)) takes none.

    :param reload: The command that makes nginx read its configuration again.
    """

    def __init__(self, path: str, backend: str, *, settle: float, reload: t.Sequence[str]) -> None:
        super().__init__(path, backend, settle=settle)
        self.reload = list(reload) or ["nginx", "-s", "reload"]

    def render(self, members: dict[str, Status]) -> str:
        """One upstream block."""
        lines = [f"upstream {self.backend} {{"]
        for one in members.values():
            host = f"[{one.address}]" if ":" in one.address else one.address
            lines.append(f"  server {host}:{one.port} " + (f"weight={one.weight};" if in_service(one) else "down;"))
        return "\n".join([*lines, "}"])

    def activate(self, members: dict[str, Status]) -> None:
        """Reload, and give the old workers time to end.

        :raises ConnectionFailed: when the command fails.
        """
        try:
            done = subprocess.run(self.reload, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConnectionFailed(
                f"{self.reload[0]!r} could not run: {exc}",
                option="reload",
                remedy="Give the command that reloads nginx",
            ) from exc
        if done.returncode:
            raise ConnectionFailed(
                f"{' '.join(self.reload)!r} failed: {done.stderr.strip()[-300:]}",
                option="reload",
                remedy="Check the configuration with 'nginx -t'",
            )
        time.sleep(self.settle)
