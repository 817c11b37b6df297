# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real parts for the tests of balancers: HTTP servers, a HAProxy before them, and the module run by Ansible."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "simulators"))

from haproxy import HAProxy, Member  # noqa: E402
from http_server import HttpServer  # noqa: E402
from load_generator import LoadGenerator  # noqa: E402
from ports import free_port  # noqa: E402
from processes import ansible_playbook  # noqa: E402
from proxies import EnvoyProxy, NginxProxy, TraefikProxy  # noqa: E402

__all__ = ["EnvoyProxy", "HAProxy", "LoadGenerator", "Member", "NginxProxy", "TraefikProxy"]


def make_servers(directory: pathlib.Path, count: int, **options: t.Any) -> dict[str, HttpServer]:
    """Servers web1, web2, ... on loopback addresses of their own; not started."""
    servers = {}
    for number in range(1, count + 1):
        address = f"127.0.2.{number}"
        servers[f"web{number}"] = HttpServer(directory, f"web{number}", address, free_port(), **options)
    return servers


def members_of(servers: dict[str, HttpServer], **options: t.Any) -> list[Member]:
    """The servers as members of a HAProxy backend."""
    return [Member(name, server.address, server.port, **options) for name, server in servers.items()]


@contextlib.contextmanager
def running(parts: t.Iterable[t.Any]) -> t.Iterator[None]:
    """All parts started, and stopped at the end."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(part)
        yield


def run_playbook(directory: pathlib.Path, plays: t.Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run plays, given as data, with ``ansible-playbook`` and this checkout as the collection."""
    path = directory / "playbook.yml"
    path.write_text(json.dumps(plays), encoding="utf-8")
    own = {
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
    }
    return subprocess.run(
        **ansible_playbook(directory / "ansible", ROOT / ".build", str(path), *arguments, **own),
        capture_output=True, text=True, timeout=300, check=False, cwd=directory,
    )  # fmt: skip


def play(tasks: list[dict[str, t.Any]], **keywords: t.Any) -> list[dict[str, t.Any]]:
    """One play on localhost."""
    return [{"hosts": "localhost", "gather_facts": False, "tasks": tasks, **keywords}]
