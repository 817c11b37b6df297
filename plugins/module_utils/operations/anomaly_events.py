# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changed among the anomalies since the last look: behind the event source ``anomalies``."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import options, timing
from ..errors import InvalidOption, LowtideError
from . import anomalies, tenants

#: The options of the operation, and how often to look. The moment is that of the look.
SPEC: options.ArgumentSpec = {
    **{name: option for name, option in anomalies.SPEC.items() if name != "now"},
    "interval": dict(type="str", default="5m"),
}
GROWTH = 0.02  # of the score, from which an anomaly that goes on has changed
RUNNERS_OWN = "eda_"  # how names begin that ansible-rulebook adds to the options

Item = t.Dict[str, t.Any]
Key = t.Tuple[str, t.Union[str, None], str]


def asked_for(args: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], float]:
    """The options of the event source, checked, and the seconds between two looks.

    :raises InvalidOption: naming the option that is wrong, before anything is read.
    """
    given = {name: value for name, value in args.items() if not name.startswith(RUNNERS_OWN)}
    unknown = next((name for name in given if name not in SPEC), None)
    if unknown is not None:
        raise InvalidOption("there is no such option", option=unknown, remedy=f"Options are {', '.join(sorted(SPEC))}")
    params = {**options.checked(given, SPEC, "anomalies"), "now": None}
    interval = timing.duration(params["interval"], "interval")
    if interval < 1:
        raise InvalidOption(
            f"{params['interval']} is too short",
            option="interval",
            remedy="Look once a second at most, better once a step",
        )
    anomalies.asked_for(params)
    tenants.chosen(params)
    return params, interval


@dataclasses.dataclass
class _Incident:
    """An anomaly as it was told last, and its newest state."""

    told: Item
    newest: Item


class Watch:
    """Looks at the pools again and again, and tells what is new each time.

    An anomaly found anew is the one known already if it is of the same series and touches it in time: where an incident
    begins may move by a step when it is looked at again, and it is told once all the same.
    """

    def __init__(self, params: dict[str, t.Any]) -> None:
        """:param params: As :func:`asked_for` returns them."""
        self._params = params
        self._open: dict[Key, _Incident] = {}
        self._over: dict[Key, str] = {}  # until when the last one of each series went
        self._started = False
        self._problem = ("", "")  # what keeps it from seeing: what tells it from others, and its words

    def look(self, now: datetime.datetime) -> list[Item]:
        """The events since the last look, in the order they happened.

        ``change`` is ``begun``, ``changed`` or ``ended``, with the ``anomaly`` as the module ``anomalies`` returns it; or
        ``blind``, with the ``problem``, once for each when the history, or that of some pools, can't be read, and
        ``sighted`` when it can again. What goes on in a pool that can't be seen is not over.
        """
        params = {**self._params, "now": timing.iso(now)}
        try:
            found, _states, lacking = anomalies.look(params, anomalies.asked_for(params))
        except LowtideError as exc:
            return self._sight(str(exc), str(exc))
        # Why names times, which move from look to look: it is the same problem while it is the same pools'.
        events = self._sight(", ".join(lacking), " ".join(str(why) for why in lacking.values()))
        seen = set()
        for item in sorted(found, key=lambda item: item["since"]):
            key = (item["pool"], item["server"], item["metric"])
            seen.add((key, item["open"]))
            events += self._one(key, item)
        # Thresholds move: what is no longer found is over.
        gone = [key for key in self._open if (key, True) not in seen and key[0] not in lacking]
        for key in gone:
            last = self._open[key].newest
            events += self._end(key, {**last, "open": False, "until": timing.iso(now)})
        self._started = True
        return events

    def _sight(self, problem: str, words: str) -> list[Item]:
        """What there is to tell when something, or nothing, keeps it from seeing.

        :param problem: What tells it from others, empty for none.
        """
        (known, told), self._problem = self._problem, (problem, words)
        if problem == known:
            return []
        return [{"change": "blind", "problem": words} if problem else {"change": "sighted", "problem": told}]

    def _one(self, key: Key, item: Item) -> list[Item]:
        known = self._open.get(key)
        if known is not None and (item["open"] or item["until"] >= known.told["since"]):
            item = {**item, "since": known.told["since"]}
            return self._go_on(known, item) if item["open"] else self._end(key, item)
        if item["open"]:
            self._open[key] = _Incident(item, item)
            return [{"change": "begun", "anomaly": item}]
        fresh = item["until"] > self._over.get(key, "") and item["since"] >= self._over.get(key, "")
        if not fresh or not self._started:
            self._over[key] = max(self._over.get(key, ""), item["until"])
            return []
        return [{"change": "begun", "anomaly": item}, *self._end(key, item)]

    def _go_on(self, known: _Incident, item: Item) -> list[Item]:
        known.newest = item
        if item["direction"] == known.told["direction"] and item["score"] < known.told["score"] + GROWTH:
            return []
        known.told = item
        return [{"change": "changed", "anomaly": item}]

    def _end(self, key: Key, item: Item) -> list[Item]:
        self._open.pop(key, None)
        self._over[key] = item["until"]
        return [{"change": "ended", "anomaly": item}]


def event(change: Item) -> Item:
    """A change as rules read it: what is none is left out, since they ask whether a name ``is defined``."""
    return {
        name: event(value) if isinstance(value, dict) else value for name, value in change.items() if value is not None
    }
