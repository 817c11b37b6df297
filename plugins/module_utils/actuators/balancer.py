# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every load balancer is to Lowtide: members with a state and a weight, read and changed in one session.

A provider is one class with the few methods of :class:`Instance`. All that can be decided without a balancer is here, as
pure functions: which names are safe, what relative weights mean, and which changes lead from what is to what is wanted.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..errors import ConnectionFailed, InvalidOption, NotFound

STATES = ("ready", "drain", "maintenance")

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,127}")
_ADDRESS = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?)(%?)")


class TimedOut(ConnectionFailed):
    """A balancer did not answer in time."""


@dataclasses.dataclass(frozen=True)
class Status:
    """What a balancer tells of one member.

    :param state: V(ready), V(drain) (finishes its sessions, gets no new ones) or V(maintenance) (out, not checked).
    :param weight: Its weight now. :param full_weight: The weight that relative weights refer to.
    :param up: Whether the balancer holds it for able to serve. :param checked: Whether a health check has said so since the
        member left maintenance; None where no check tells.
    :param sessions: Requests under way; None where the balancer does not tell. :param queue: Requests that wait for it.
    :param requests: Requests answered since the balancer started. :param errors: Those of them that failed or were 5xx.
    :param requests_per_second: Over the last second. :param latency_ms: Mean of the latest requests.
    :param samples: Requests that O(latency_ms) is an average of. :param window: The most requests it is ever an average of;
        0 where latency is not told.
    """

    state: str
    weight: int
    full_weight: int
    up: bool
    address: str = ""
    port: int = 0
    checked: bool | None = None
    sessions: int | None = None
    queue: int = 0
    requests: int | None = None
    errors: int | None = None
    requests_per_second: float | None = None
    latency_ms: float | None = None
    samples: int = 0
    window: int = 0


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What one member shall be; None leaves a thing as it is.

    :param state: One of the states, or V(absent). :param weight: An absolute weight.
    :param share: Instead of it, a share of the member's full weight, from 0 up.
    """

    name: str
    state: str | None = None
    weight: int | None = None
    share: float | None = None
    address: str | None = None
    port: int | None = None


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of one member. :param what: V(add), V(remove), V(address), V(weight) or V(state)."""

    name: str
    what: str
    before: t.Any
    after: t.Any


class Instance(t.Protocol):
    """One balancer (or one file that balancers read), in one session.

    :param label: Names it to the user. :param most: The highest weight it takes. :param option: Where it was named.
    :param adds: Whether members can be added and removed while it runs.
    :param waiting: Requests that waited for any member at the latest read; those that wait for one are in its C(queue).
    """

    label: str
    most: int
    option: str
    adds: bool
    waiting: int

    def read(self) -> dict[str, Status]:
        """All members of the backend, in the balancer's order."""

    def check_rights(self) -> None:
        """Raise :class:`AuthenticationFailed` unless the session may change members."""

    def apply(self, changes: t.Sequence[Change]) -> None:
        """Make the changes, in their order."""

    def save(self) -> None:
        """Keep the present state over a restart or reload, where that was asked for."""

    def close(self) -> None:
        """End the session."""


def check_name(name: t.Any, option: str) -> str:
    """The name, if it can't be taken for anything but a name by any balancer.

    :raises InvalidOption: on a name with other characters than letters, digits and C(_ . : -).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidOption(
            f"{name!r} can't be the name of a member or backend",
            option=option,
            remedy="Names are made of letters, digits, '_', '.', ':' and '-'",
        )
    return name


def wanted(members: t.Sequence[dict[str, t.Any]], option: str = "members") -> list[Wanted]:
    """The members a user wants, each checked.

    :param members: Dictionaries with C(name) and any of C(state), C(weight), C(address), C(port).
    :raises InvalidOption: on the first name, state, weight, address or port that can't be; nothing was sent then.
    """
    result: list[Wanted] = []
    for index, member in enumerate(members):
        place = f"{option}[{index}]"
        name = check_name(member.get("name"), f"{place}.name")
        if any(other.name == name for other in result):
            raise InvalidOption(f"{name!r} is named twice", option=f"{place}.name", remedy="Name each member once")
        weight, share = _weight(member.get("weight"), f"{place}.weight")
        address, port = member.get("address"), member.get("port")
        if address is not None and not _ADDRESS.fullmatch(address):
            raise InvalidOption(
                f"{address!r} is not an address", option=f"{place}.address", remedy="Give an IP address or a host name"
            )
        if (address is None) != (port is None):
            raise InvalidOption(
                "address and port go together", option=f"{place}.{'address' if address is None else 'port'}",
                remedy="Give both or none",
            )  # fmt: skip
        if port is not None and not 0 < port < 65536:
            raise InvalidOption(f"{port} is not a port", option=f"{place}.port", remedy="Give a number from 1 to 65535")
        result.append(Wanted(name, member.get("state"), weight, share, address, port))
    return result


def _weight(value: t.Any, option: str) -> tuple[int | None, float | None]:
    """An absolute weight, or a share of the full one, from what a user writes: V(50), V("50%")."""
    if value is None:
        return None, None
    found = _WEIGHT.fullmatch(str(value).strip())
    if found and found[2]:
        return None, float(found[1]) / 100
    if found and "." not in found[1]:
        return int(found[1]), None
    raise InvalidOption(
        f"{value!r} is not a weight",
        option=option,
        remedy="Give a whole number, or a share of the full weight like 50%",
    )


def differences(
    wants: t.Sequence[Wanted], actual: t.Mapping[str, Status], *, most: int, adds: bool, option: str = "members"
) -> list[Change]:
    """The changes that lead from what is to what is wanted; none when they are the same.

    A member's weight comes before its state, so that a member which becomes ready does so with its new weight.

    :param most: The highest weight the balancer takes. :param adds: Whether it can add members.
    :raises NotFound: on a member that is not there and can't be added.
    :raises InvalidOption: on a weight that the balancer can't express.
    """
    changes: list[Change] = []
    for index, want in enumerate(wants):
        place = f"{option}[{index}]"
        status = actual.get(want.name)
        if status is None:
            changes += _addition(want, actual, place, most=most, adds=adds)
        elif want.state == "absent":
            changes += _removal(want.name, status, place, adds=adds)
        else:
            changes += _adjustment(want, status, place, most=most)
    return changes


def _addition(want: Wanted, actual: t.Mapping[str, Status], place: str, *, most: int, adds: bool) -> list[Change]:
    if want.state == "absent":
        return []
    if want.address is None or not adds:
        remedy = f"Its members are {', '.join(sorted(actual)) or 'none'}"
        if adds:
            remedy += "; give address and port to add one"
        raise NotFound(f"the backend has no member {want.name!r}", option=f"{place}.name", remedy=remedy)
    full = max((status.full_weight for status in actual.values()), default=min(100, most))
    weight = full if want.weight is None else want.weight
    if want.share is not None:
        weight = _part(full, want.share, f"{place}.weight", most)
    if weight > most:
        raise _too_heavy(weight, f"{place}.weight", most)
    added = Change(
        want.name, "add", None, {"address": want.address, "port": want.port, "weight": weight, "full_weight": full}
    )
    return [added, Change(want.name, "state", None, want.state or "ready")]


def _removal(name: str, status: Status, place: str, *, adds: bool) -> list[Change]:
    if not adds:
        raise InvalidOption(
            "this balancer can't remove members while it runs",
            option=f"{place}.state",
            remedy="Use 'maintenance', or take the member out of the balancer's configuration",
        )
    return [Change(name, "remove", {"address": status.address, "port": status.port, "weight": status.weight}, None)]


def _adjustment(want: Wanted, status: Status, place: str, *, most: int) -> list[Change]:
    changes = []
    if want.address is not None and (want.address, want.port) != (status.address, status.port):
        before, after = f"{status.address}:{status.port}", f"{want.address}:{want.port}"
        changes.append(Change(want.name, "address", before, after))
    weight = want.weight
    if want.share is not None:
        weight = _part(status.full_weight, want.share, f"{place}.weight", most)
    if weight is not None and weight != status.weight:
        if weight > most:
            raise _too_heavy(weight, f"{place}.weight", most)
        changes.append(Change(want.name, "weight", status.weight, weight))
    if want.state is not None and want.state != status.state:
        changes.append(Change(want.name, "state", status.state, want.state))
    return changes


def _part(full: int, share: float, option: str, most: int) -> int:
    """A share of a full weight as a whole number, if whole numbers can express it to a quarter."""
    exact = full * share
    weight = round(exact)
    if abs(weight - exact) > 0.25 * exact or (exact > 0 and weight == 0):
        raise InvalidOption(
            f"{100 * share:g}% of a full weight of {full} can't be told from another share",
            option=option,
            remedy=f"Give the members a larger weight in the balancer's configuration, for example {min(100, most)}",
        )
    return weight


def _too_heavy(weight: int, option: str, most: int) -> InvalidOption:
    return InvalidOption(
        f"{weight} is more than the balancer takes", option=option, remedy=f"Give a weight from 0 to {most}"
    )


def after(actual: t.Mapping[str, Status], changes: t.Sequence[Change]) -> dict[str, Status]:
    """What the members will be once the changes are made."""
    result = dict(actual)
    for change in changes:
        if change.what == "add":
            made = change.after
            result[change.name] = Status(
                "maintenance", made["weight"], made["weight"], False, made["address"], made["port"]
            )
        elif change.what == "remove":
            del result[change.name]
        elif change.what == "weight":
            result[change.name] = dataclasses.replace(result[change.name], weight=change.after)
        elif change.what == "state":
            result[change.name] = dataclasses.replace(result[change.name], state=change.after)
        else:
            address, _colon, port = change.after.rpartition(":")
            result[change.name] = dataclasses.replace(result[change.name], address=address, port=int(port))
    return result


def serving(members: t.Mapping[str, Status]) -> list[str]:
    """The members that take new requests: ready, up and of a weight above 0."""
    return [name for name, status in members.items() if status.state == "ready" and status.weight > 0 and status.up]


def check_min_ready(
    before: t.Mapping[str, Status], changes: t.Sequence[Change], *, least: int, option: str = "min_ready"
) -> None:
    """Refuse changes that leave fewer members in service than allowed; ones that take none out always pass.

    :raises InvalidOption: when too few would be left.
    """
    then = serving(after(before, changes))
    leaving = [name for name in serving(before) if name not in then]
    if leaving and len(then) < least:
        raise InvalidOption(
            f"without {', '.join(leaving)} only {len(then)} members would be in service, and {least} shall be",
            option=option,
            remedy="Take fewer out at a time, bring others in first, or lower the number on purpose",
        )
