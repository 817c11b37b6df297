# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One number of this moment from a server that speaks the Prometheus API, for a gate."""

from __future__ import annotations

import math
import typing as t

from ..errors import InvalidOption
from .http import Client


def number(server: t.Mapping[str, t.Any], query: str, option: str = "prometheus") -> float | None:
    """The value of an instant query that gives one number; None when it gives nothing, NaN or infinity.

    :param server: What :class:`.http.Client` takes.
    :param option: Dotted path of the server's options, for errors.
    :raises ConnectionFailed, AuthenticationFailed: when there is no answer.
    :raises InvalidOption: when the query is wrong, or gives more than one series.
    """
    with Client(server, option) as client:
        answer = client.post("/api/v1/query", {"query": query})
        try:
            body = answer.json()
            if body["status"] == "success":
                data = body["data"]
                pairs = [data["result"]] if data["resultType"] == "scalar" else [row["value"] for row in data["result"]]
                values = [float(pair[1]) for pair in pairs]
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            raise client.broken() from exc
    if body["status"] != "success":
        raise InvalidOption(
            f"the server does not understand {query!r}: {body.get('error')}",
            option="gates.query",
            remedy="Try the query in Prometheus",
        )
    if len(values) > 1:
        raise InvalidOption(
            f"{query!r} gives {len(values)} series",
            option="gates.query",
            remedy="Aggregate to one, for example with sum()",
        )
    return values[0] if values and math.isfinite(values[0]) else None
