# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a traffic shift that can't go on: the weights from before, wherever they can be set, and a word on the rest."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import types
import typing as t

from .. import timing
from ..actuators import balancer
from ..actuators.balancer import Wanted
from ..actuators.providers import open_instances
from ..errors import LowtideError

AGAIN_SECONDS = 0.25
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(LowtideError):
    """Somebody ended the run."""


class ShiftBroken(LowtideError):
    """A shift ended because its balancer, or somebody, ended it; the text says what state its members are in."""


@contextlib.contextmanager
def interruptible() -> t.Iterator[None]:
    """Turn SIGTERM, SIGINT and SIGHUP into :class:`Interrupted`; one that comes while that is dealt with is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: types.FrameType | None) -> t.NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(
            f"the run was ended by {signal.Signals(number).name}", remedy="Run it again when you are ready"
        )

    kept = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def broken(params: dict[str, t.Any], progress: dict[str, t.Any], cause: LowtideError) -> ShiftBroken:
    """Restore what was before the shift on each instance by itself, and return the error that says how that went.

    An instance that does not answer is asked again until O(restore_timeout) has passed, all of them together.
    """
    end = time.monotonic() + timing.duration(params["restore_timeout"], "restore_timeout")
    before = progress["before"]
    share = progress["steps"][-1]["share"]
    told = [_restored(one, before, end) for one in _each(params)]
    texts = [text for _good, text in told]
    lost = not all(good for good, _text in told)
    return ShiftBroken(
        f"the shift broke off at {share:.0%} because {cause.problem.rstrip('.')}. {' '.join(texts)}",
        option=cause.option,
        remedy=f"Then set the weights from before, {_listed(before)}, with balancer_pool. {cause.remedy or ''}"
        if lost
        else cause.remedy,
    )


def _each(params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The options, for each instance by itself."""
    if len(params["socket"]) < 2:
        return [params]
    return [{**params, "socket": [address]} for address in params["socket"]]


def _restored(params: dict[str, t.Any], before: dict[str, t.Any], end: float) -> tuple[bool, str]:
    """Whether one instance has the weights from before again, and the sentence that says so or not."""
    label = next(iter(params["socket"]), None) or params["file"] or params["tasks"]
    seen: dict[str, t.Any] = {}
    while True:
        try:
            with contextlib.ExitStack() as sessions:
                (instance,) = open_instances(params, sessions)
                seen = _view(instance.read(), before)
                wants = [Wanted(name, one["state"], weight=one["weight"]) for name, one in before.items()]
                instance.apply(balancer.differences(wants, instance.read(), most=instance.most, adds=False))
                seen = _view(instance.read(), before)
                instance.save()
            return True, f"{label} has the weights from before again: {_listed(seen)}."
        except LowtideError as exc:
            if time.monotonic() >= end:
                now = (
                    f"when seen last it had {_listed(seen)}"
                    if seen
                    else "its members may have the weights of that step"
                )
                return False, f"{label} could not be set back ({exc.problem.rstrip('.')}); {now}."
        time.sleep(AGAIN_SECONDS)


def _view(members: t.Mapping[str, balancer.Status], names: t.Iterable[str]) -> dict[str, t.Any]:
    return {name: {"state": members[name].state, "weight": members[name].weight} for name in names if name in members}


def _listed(members: dict[str, t.Any]) -> str:
    return ", ".join(f"{name} {one['state']} {one['weight']}" for name, one in members.items())
