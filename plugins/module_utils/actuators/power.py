# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What wakes servers and puts them to sleep: the one interface of every provider.

A new provider is a subclass of :class:`Provider` with two methods, ``look`` and ``act``; ``actuators/change.py`` does
the rest: it gives orders together, waits, looks again where an answer was lost, and lets others take the place of
servers that fail.
"""

from __future__ import annotations

import abc
import concurrent.futures
import dataclasses
import time
import typing as t

from ..errors import AuthenticationFailed, ConnectionFailed, NotFound

# What a server can be told. A suspended server wakes by "on", too. "shutdown" asks its guest, "off" does not.
Order = t.Literal["on", "suspend", "shutdown", "off"]


class UnknownServer(NotFound):
    """A provider does not have a server that was named."""

    def __init__(self, server: str, problem: str, *, option: str | None = None, remedy: str | None = None) -> None:
        super().__init__(problem, option=option, remedy=remedy)
        self.server = server


@dataclasses.dataclass(frozen=True)
class Server:
    """What is known of one server.

    :param power: V(on), V(off) or V(suspended).
    :param up: Its guest runs, as far as the provider can tell.
    :param ip: Its address, where the provider knows it.
    :param busy: Something is at work on its power state.
    :param failure: Why the last order failed, when it was accepted and failed later.
    :param lacks: Why it is not up, as a sentence in the past tense.
    """

    power: str
    up: bool = False
    ip: str | None = None
    busy: bool = False
    failure: str | None = None
    lacks: str = "its guest tools were not running"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of an order.

    :param kind: V(accepted); V(refused), for good; V(lost), it may or may not have been carried out; V(look), it was
        not carried out, because the server is not in the state it was thought to be in, or is busy.
    :param reason: Why, for a person.
    """

    kind: t.Literal["accepted", "refused", "lost", "look"]
    reason: str = ""


class Provider(abc.ABC):
    """Wakes servers and puts them to sleep.

    :param parallel: How many orders are given at the same time.
    """

    # How long to wait before looking again, where a provider can't tell that something has changed.
    poll_seconds = 1.0

    def __init__(self, *, parallel: int = 16) -> None:
        self.parallel = parallel
        self.trouble: str | None = None  # why it can't look at present, while that is so

    @abc.abstractmethod
    def look(self, names: t.Collection[str]) -> dict[str, Server]:
        """The state of each server named.

        :raises UnknownServer: when one does not exist. :raises ConnectionFailed: when it can't be known.
        """

    @abc.abstractmethod
    def act(self, name: str, order: Order) -> Answer:
        """Give one order, and return without waiting for its effect. It is called from several threads at once."""

    def names(self) -> list[str]:
        """All servers there are, where the provider can list them."""
        return []

    def order(self, orders: t.Mapping[str, Order]) -> dict[str, Answer]:
        """Give orders together, at most ``parallel`` at a time."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=self.parallel) as pool:
            return dict(zip(orders, pool.map(self.act, orders, orders.values()), strict=True))

    def watch(self, names: t.Collection[str], seconds: float) -> dict[str, Server]:
        """Wait until something may have changed, but no longer than given; return what is known afterwards.

        Servers it can tell nothing new about are left out; when it can't look at all, :attr:`trouble` says why.
        """
        time.sleep(min(seconds, self.poll_seconds))
        try:
            servers = self.look(names)
        except (AuthenticationFailed, ConnectionFailed) as exc:
            # It could look when it began. A server that starts again may not know yet who may look.
            self.trouble = exc.problem
            return {}
        self.trouble = None
        return servers

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End the session, if there is one."""

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
