# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a history is fit to forecast from."""

from __future__ import annotations

import datetime
import typing as t

from ..timing import iso, words
from .base import Summary

# Two weeks show each day of the week twice; less, and a weekly season is a guess.
ENOUGH_DAYS = 14
_MOST_MISSING = 0.2
_FRESH_STEPS = 3


def report(
    summaries: t.Sequence[Summary], *, pool: str, metric: str, servers: t.Sequence[str], now: datetime.datetime
) -> dict[str, t.Any]:
    """What the history holds of one metric of one pool.

    :param summaries: Of this pool and metric. The pool's total counts alone where there is one.
    :param servers: The servers the pool has; its standbys, which sleep, are not among them.
    :returns: C(unit), C(servers) (how many have samples), C(servers_wanted), C(days), C(samples), C(missing), C(gaps), C(oldest),
        C(newest), C(age_seconds), C(fresh), C(enough) and C(words).
    """
    own = [item for item in summaries if item.key.server in servers]
    total = [item for item in summaries if item.key.server is None]
    counted = total or own
    result: dict[str, t.Any] = {
        "pool": pool,
        "metric": metric,
        "unit": next((item.unit for item in counted if item.unit), None),
        "servers": len(own),
        "servers_wanted": len(servers),
        "total": bool(total),
        "days": 0.0,
        "samples": sum(item.samples for item in counted),
        "missing": sum(item.missing for item in counted),
        "gaps": sum(item.gaps for item in counted),
        "oldest": None,
        "newest": None,
        "age_seconds": None,
        "fresh": False,
        "enough": False,
    }
    if counted:
        step = max(item.step_seconds for item in counted)
        oldest, newest = min(item.oldest for item in counted), max(item.newest for item in counted)
        age = max((now - newest).total_seconds(), 0.0)
        days = ((newest - oldest).total_seconds() + step) / 86400
        share = result["missing"] / (result["missing"] + result["samples"])
        result |= {
            "days": round(days, 2),
            "oldest": iso(oldest),
            "newest": iso(newest),
            "age_seconds": int(age),
            "fresh": age <= _FRESH_STEPS * step,
            "enough": days >= ENOUGH_DAYS and share <= _MOST_MISSING and (bool(total) or len(own) == len(servers)),
        }
    result["words"] = _sentence(result)
    return result


def _sentence(item: dict[str, t.Any]) -> str:
    """One report in plain words."""
    what = f"{item['metric']} of {item['pool']}"
    if item["newest"] is None:
        return f"{what}: no sample in the history; it can't be forecast."
    text = f"{what}: {item['days']:g} days of "
    text += "the pool's total" if item["total"] else f"{item['servers']} of {item['servers_wanted']} servers"
    if item["missing"]:
        text += f", {item['missing']} samples missing in {item['gaps']} {'gap' if item['gaps'] == 1 else 'gaps'}"
    text += f", the newest {words(item['age_seconds'])} old" if not item["fresh"] else ", up to date"
    if item["enough"]:
        return text + "; enough to forecast."
    return text + f"; not enough to forecast well, which takes {ENOUGH_DAYS} days of all servers with few gaps."
