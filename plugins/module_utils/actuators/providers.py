# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which class stands for which provider."""

from __future__ import annotations

import contextlib
import typing as t

from .. import timing
from ..errors import InvalidOption
from .balancer import Instance
from .files import Envoy, Nginx, Traefik
from .haproxy import HAProxy
from .tasks import Tasks


def open_instances(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    """A session with each instance of the balancer, to be closed with O(sessions).

    :param params: Options as in options.BALANCER, and C(reply_timeout) and C(state_file).
    :raises InvalidOption: when an option that the provider needs is not there.
    """
    return PROVIDERS[params["provider"]](params, sessions)


def _haproxy(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    addresses = params["socket"]
    if not addresses:
        raise _needed("socket", "haproxy", "Write tcp://lb1:9999 or a unix socket's path")
    if params["state_file"] and len(addresses) > 1:
        raise InvalidOption(
            "a file on this host can hold the state of one instance only",
            option="state_file",
            remedy="Call the module once on each balancer's host, with the socket of that host",
        )
    timeout = timing.duration(params["reply_timeout"], "reply_timeout")
    opened: list[Instance] = []
    for index, address in enumerate(addresses):
        instance = HAProxy(
            address, params["backend"], timeout=timeout, option=f"socket[{index}]", state_file=params["state_file"]
        )
        sessions.callback(instance.close)
        opened.append(instance)
    return opened


def _envoy(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    return [Envoy(_file(params), params["backend"], settle=_settle(params), admin=params["admin"])]


def _traefik(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    return [Traefik(_file(params), params["backend"], settle=_settle(params))]


def _nginx(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    return [Nginx(_file(params), params["backend"], settle=_settle(params), reload=params["reload"])]


def _tasks(params: dict[str, t.Any], sessions: contextlib.ExitStack) -> list[Instance]:
    if not params["tasks"]:
        raise _needed("tasks", "tasks", "Give the path of a task file")
    return [Tasks(params["tasks"], params["backend"])]


def _file(params: dict[str, t.Any]) -> str:
    if not params["file"]:
        raise _needed("file", params["provider"], "Name the file that the balancer reads its members from")
    return params["file"]


def _settle(params: dict[str, t.Any]) -> float:
    return timing.duration(params["settle"], "settle")


def _needed(option: str, provider: str, remedy: str) -> InvalidOption:
    return InvalidOption(f"the provider {provider} needs it", option=option, remedy=remedy)


PROVIDERS: dict[str, t.Callable[[dict[str, t.Any], contextlib.ExitStack], list[Instance]]] = {
    "haproxy": _haproxy,
    "envoy": _envoy,
    "traefik": _traefik,
    "nginx": _nginx,
    "tasks": _tasks,
}
