# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One number from a server that speaks the Prometheus API, for a gate."""

from __future__ import annotations

import math
import typing as t

from .. import timing
from ..errors import AuthenticationFailed, ConnectionFailed, InvalidOption
from ..libraries import requests


def value(server: dict[str, t.Any] | None, query: str) -> float | None:
    """The value of an instant query that gives one number; None when it gives nothing or NaN.

    :param server: Options as in a history of type prometheus: C(url), and C(username), C(password), C(token),
        C(validate_certs), C(ca_path), C(timeout).
    :raises ConnectionFailed: when the server can't be reached. :raises InvalidOption: when the query is wrong.
    """
    if not server or not server.get("url"):
        raise InvalidOption(
            "a gate has a query", option="prometheus.url", remedy="Give the address of the Prometheus API"
        )
    headers = {"Authorization": f"Bearer {server['token']}"} if server.get("token") else {}
    verify = (server.get("ca_path") or True) if server.get("validate_certs", True) else False
    try:
        answer = requests.get(
            f"{server['url'].rstrip('/')}/api/v1/query",
            params={"query": query},
            headers=headers,
            auth=(server["username"], server.get("password") or "") if server.get("username") else None,
            verify=verify,
            timeout=timing.duration(server.get("timeout", "30s"), "prometheus.timeout"),
        )
    except requests.RequestException as exc:
        raise ConnectionFailed(
            f"{server['url']} can't be reached: {type(exc).__name__}",
            option="prometheus.url",
            remedy="Check the address",
        ) from exc
    if answer.status_code in (401, 403):
        raise AuthenticationFailed(
            f"{server['url']} refused the credentials", option="prometheus", remedy="Check user, password or token"
        )
    try:
        body = answer.json()
    except requests.JSONDecodeError as exc:
        raise ConnectionFailed(
            f"{server['url']} answered no JSON", option="prometheus.url", remedy="Check the address"
        ) from exc
    if body.get("status") != "success":
        raise InvalidOption(
            f"{query!r}: {body.get('error')}", option="gates.query", remedy="Try the query in Prometheus"
        )
    return _number(body["data"], query)


def _number(data: dict[str, t.Any], query: str) -> float | None:
    results = [data] if data["resultType"] == "scalar" else data["result"]
    if len(results) > 1:
        raise InvalidOption(
            f"{query!r} gives {len(results)} series",
            option="gates.query",
            remedy="Aggregate to one, for example with sum()",
        )
    if not results:
        return None
    pair = results[0]["result"] if data["resultType"] == "scalar" else results[0]["value"]
    number = float(pair[1])
    return number if math.isfinite(number) else None
