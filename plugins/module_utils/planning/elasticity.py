# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of a pool that was scaled: which servers carried load, and how well that fitted the demand.

The decision at column *t* is made at the end of step *t*. What it powers on carries load after the boot; what it
sends to sleep does so at once, after it was not wanted for as long as the hold. Figures after Herbst, Kounev and Reussner,
*Elasticity in cloud computing: what it is, and what it is not*, ICAC 2013, and SPEC RG's elasticity metrics.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..libraries import numpy as np

if t.TYPE_CHECKING:
    import numpy


@dataclasses.dataclass(frozen=True)
class Figures:
    """How well servers fitted the demand.

    :param theta_u, theta_o: Mean under- and oversupply, relative to the servers needed.
    :param tau_u, tau_o: Share of time with too few and with too many servers.
    :param adaptations_per_hour: Decisions that changed the number of servers, per hour.
    :param server_hours: Hours that servers were powered on, boots included.
    :param relative_hours: The same, relative to the demand in servers' worth.
    :param overload_minutes: Time with too few servers, in minutes.
    :param cost: Of the servers, and of the overload.
    """

    theta_u: float
    theta_o: float
    tau_u: float
    tau_o: float
    adaptations_per_hour: float
    server_hours: float
    relative_hours: float
    overload_minutes: float
    cost: float

    def plain(self) -> dict[str, float]:
        """As a face returns them."""
        return {name: round(float(value), 6) for name, value in dataclasses.asdict(self).items()}


def trailing(values: numpy.ndarray, width: int, pick: t.Callable[..., numpy.ndarray]) -> numpy.ndarray:
    """The greatest or smallest (``np.max``, ``np.min``) of the newest *width* columns, of those there are, shape of *values*."""
    padded = np.concatenate([np.repeat(values[..., :1], width - 1, axis=-1), values], axis=-1)
    return pick(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1)


def powered(wanted: numpy.ndarray, hold: int) -> numpy.ndarray:
    """Servers powered on after each decision, when one is kept for *hold* steps after it was last wanted."""
    return trailing(wanted, hold + 1, np.max)


def carrying(on: numpy.ndarray, boot: int) -> numpy.ndarray:
    """Servers that carry load in the step after each decision, when a boot takes *boot* steps and the youngest go first."""
    return trailing(on, boot + 1, np.min)


def spent(
    wanted: numpy.ndarray,
    demand: numpy.ndarray,
    *,
    boot: int,
    hold: int,
    step_seconds: int,
    server_cost: float = 1.0,
    overload_cost: float = 0.0,
    by_time: bool = False,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What servers, and overload, cost in the step after each decision, in the shape of *wanted*; 0 where that is not known.

    :param wanted: Servers wanted at the end of each step, shape (..., time). The others as in :func:`figures`.
    """
    on = powered(np.asarray(wanted, dtype=float), hold)
    came = np.append(demand[1:], np.nan)
    missing = np.maximum(np.nan_to_num(came - carrying(on, boot)), 0)
    hours = step_seconds / 3600
    unserved = (missing > 0) if by_time else missing
    return on * ~np.isnan(came) * hours * server_cost, unserved * hours * overload_cost


def figures(
    wanted: numpy.ndarray,
    demand: numpy.ndarray,
    *,
    boot: int,
    hold: int,
    step_seconds: int,
    first: int = 0,
    least: int = 0,
    server_cost: float = 1.0,
    overload_cost: float = 0.0,
    by_time: bool = False,
) -> Figures:
    """How a row of decisions did.

    :param wanted: Servers wanted at the end of each step, shape (time,).
    :param demand: Demand in servers' worth, shape (time,); a step in which it is NaN is not judged.
    :param boot: Steps from power on to carrying load. :param hold: Steps that a server is kept after it was last wanted.
    :param first: The first decision that is judged.
    :param least: Servers that the pool needs whatever the demand.
    :param server_cost: Of one server for an hour.
    :param overload_cost: Of an hour in which one server's worth of demand is not served.
    :param by_time: Whether it is of an hour in which any demand is not served, however much.
    """
    costs = spent(
        wanted, demand, boot=boot, hold=hold, step_seconds=step_seconds,
        server_cost=server_cost, overload_cost=overload_cost, by_time=by_time,
    )  # fmt: skip
    on = powered(np.asarray(wanted, dtype=float), hold)
    serving = carrying(on, boot)[first:-1]
    on, came = on[first:-1], demand[first + 1 :]
    judged = ~np.isnan(came)
    on, serving, came = on[judged], serving[judged], came[judged]
    if not len(came):
        raise ValueError("no step is left to judge")
    needed = np.maximum(np.ceil(came - 1e-9), least)
    short, spare = np.maximum(needed - serving, 0), np.maximum(serving - needed, 0)
    base, hours = np.maximum(needed, 1), step_seconds / 3600
    total = float(on.sum() * hours)
    return Figures(
        theta_u=float((short / base).mean()),
        theta_o=float((spare / base).mean()),
        tau_u=float((short > 0).mean()),
        tau_o=float((spare > 0).mean()),
        adaptations_per_hour=float((np.diff(on) != 0).sum() / (len(on) * hours)),
        server_hours=total,
        relative_hours=total / max(float(came.sum() * hours), 1e-9),
        overload_minutes=float((short > 0).sum() * step_seconds / 60),
        cost=float(sum(part[first:].sum() for part in costs)),
    )
