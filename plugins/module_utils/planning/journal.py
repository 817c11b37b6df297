# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a run of an update stands, told from the notes that were written while it went.

A note is a plain dict with C(event), and what belongs to it. Nothing else is kept of a run, so that whoever reads the notes
knows what the run knew, also after it was killed.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from .. import timing
from ..errors import Locked

Note = t.Dict[str, t.Any]

# What happens to a server, in this order; C(failed) may follow on each of them but C(in).
STEPS = ("out", "updating", "updated", "healthy", "in")

# Notes that end a run. One that failed or was killed stays open, and the same command takes it up.
ENDS = ("done", "superseded")

# Notes that bring the whole run into the phase of their name.
_PHASES = ("begun", "planned", "waking", "woken", "batch", "stopped", "sleeping", "asleep", *ENDS)


@dataclasses.dataclass
class Host:
    """One server in a run.

    :param step: One of STEPS, V(failed), V(rolled_back), or V(untouched).
    :param since: When it came there. :param out_since: When it was last taken out.
    :param why: What it failed of. :param kept_out: Whether others had taken it out of service before the run came to it.
    """

    step: str = "untouched"
    since: datetime.datetime | None = None
    out_since: datetime.datetime | None = None
    why: str = ""
    kept_out: bool = False


@dataclasses.dataclass
class Run:
    """A run as its notes tell it.

    :param name: Of the run. :param update: What the update is, as the user names it.
    :param pools: Names of the pools it updates. :param hosts: Every server of theirs, in order.
    :param phase: Where it stands: V(begun), V(planned), V(waking), V(woken), V(batch), V(stopped), V(sleeping), V(asleep),
        V(done), or V(superseded) by a later run.
    :param batch: Servers of the newest batch; O(number) is its number in the plan, 0 before the first one.
    :param woken: Standbys that the run woke, or began to, and that do not sleep again.
    :param plan: The newest plan. :param holder: Who runs it.
    :param failures: Servers that failed since it last began. :param why: What it stopped for.
    :param set_aside: Servers that there was no room for since it last began; they stay in service, for a later run.
    """

    name: str
    update: str = ""
    pools: list[str] = dataclasses.field(default_factory=list)
    hosts: dict[str, Host] = dataclasses.field(default_factory=dict)
    phase: str = ""
    begun: datetime.datetime | None = None
    touched: datetime.datetime | None = None
    number: int = 0
    batch: list[str] = dataclasses.field(default_factory=list)
    woken: list[str] = dataclasses.field(default_factory=list)
    plan: dict[str, t.Any] | None = None
    holder: str = ""
    command: str = ""
    failures: list[str] = dataclasses.field(default_factory=list)
    set_aside: list[str] = dataclasses.field(default_factory=list)
    why: str = ""

    @property
    def open(self) -> bool:
        """Whether there is something left to do for it."""
        return bool(self.phase) and self.phase not in ENDS

    @property
    def idle(self) -> bool:
        """Whether it has touched nothing, and waits for nothing: it found its low tide too far ahead, for example."""
        return self.phase in ("begun", "stopped") and not self.woken and len(self.at("untouched")) == len(self.hosts)

    def at(self, *steps: str) -> list[str]:
        """The servers at one of some steps, in the order of the pools."""
        return [name for name, host in self.hosts.items() if host.step in steps]

    @property
    def done(self) -> list[str]:
        """Servers that are updated and carry load again."""
        return self.at("in")

    @property
    def returning(self) -> list[str]:
        """Servers that are updated and not back yet."""
        return self.at("updated", "healthy")

    @property
    def half(self) -> list[str]:
        """Servers that were taken out, and must be put right before any other goes."""
        return self.at(*STEPS[:-1], "failed")

    @property
    def kept_out(self) -> list[str]:
        """Servers that are updated like all others, and stay out of service: others had taken them out before."""
        return [name for name, host in self.hosts.items() if host.kept_out]

    @property
    def left(self) -> list[str]:
        """Servers that are not updated, and that no run has taken out."""
        return self.at("untouched", "rolled_back")


def read(name: str, notes: t.Iterable[tuple[datetime.datetime, Note]]) -> Run:
    """The run that some notes tell of, oldest first.

    :param name: Of the run. :param notes: When each was written, and the note.
    """
    run = Run(name)
    for at, note in notes:
        forward(run, at, note)
    return run


def forward(run: Run, at: datetime.datetime, note: Note) -> None:
    """Bring a run forward by one note."""
    event, names = note["event"], note.get("hosts", [])
    run.touched = at
    run.phase = event if event in _PHASES else run.phase
    if event in ("begun", "resumed"):
        _begin(run, at, note)
    elif event == "planned":
        run.plan = note["plan"]
    elif event == "waking":
        run.woken += [name for name in note["standbys"] if name not in run.woken]
    elif event == "asleep":
        run.woken = [name for name in run.woken if name not in note["standbys"]]
    elif event == "stopped":
        run.why = note.get("why", "")
    elif event == "batch":
        run.number, run.batch = note.get("number", 0), list(names)
    elif event == "set_aside":
        run.batch = [name for name in run.batch if name not in names]
        run.set_aside += [name for name in names if name not in run.set_aside]
    elif event in STEPS or event in ("failed", "rolled_back"):
        for name in names:
            host = run.hosts.setdefault(name, Host())
            host.step, host.since, host.why = event, at, note.get("why", "") or host.why
            host.out_since = at if event == "out" else host.out_since
    if event == "failed":
        run.failures += [name for name in names if name not in run.failures]


def _begin(run: Run, at: datetime.datetime, note: Note) -> None:
    """A run begins, or is taken up again: who runs it, what it updates, and what it takes over from an earlier one."""
    run.holder, run.command = note.get("holder", ""), note.get("command", "")
    run.failures, run.set_aside, run.why = [], [], ""
    if note["event"] == "resumed":
        for name in note["servers"]:
            run.hosts.setdefault(name, Host())
        for host in run.hosts.values():
            host.out_since = None  # What an interruption took is not what an update takes.
        for name in note.get("untouched", []):
            run.hosts[name] = Host()
        for name in note.get("out", []):
            run.hosts[name].step = "out"
        _keep_out(run, note)
        return
    run.begun, run.update, run.pools = at, note["update"], list(note["pools"])
    run.hosts = {name: Host() for name in note["servers"]}
    for name in note.get("out", []):
        run.hosts[name] = Host("out", at, at)
    run.woken = list(note.get("woken", []))
    _keep_out(run, note)


def _keep_out(run: Run, note: Note) -> None:
    for name, host in run.hosts.items():
        host.kept_out = name in note.get("kept_out", ())


def take_up(
    runs: t.Sequence[Run], *, update: str, pools: t.Sequence[str], now: datetime.datetime, within: float
) -> tuple[Run | None, list[Run]]:
    """Which open run the same command takes up, and which ones it takes the place of.

    A run is taken up when it is of the same update and the same pools, and was written to within some time: beyond it,
    nobody can tell that the servers done then have what is to be installed now. Any other open run of these pools is
    superseded, and what it took out or woke is taken over.

    :param runs: The runs known. :param within: Seconds.
    :raises Locked: where an open run updates some of these pools, and others besides, and has begun with any.
    """
    wanted = set(pools)
    known = [run for run in runs if run.open and wanted & set(run.pools)]
    wider = next((run for run in known if not set(run.pools) <= wanted and not run.idle), None)
    if wider is not None:
        raise Locked(
            f"the update {wider.update!r} of {', '.join(wider.pools)}, begun {timing.iso(wider.begun)}, is not finished",
            option="lowtide_update_pools",
            remedy=f"Finish it first, with the same pools, or name its pools {', '.join(wider.pools)} in this one too",
        )
    same = [
        run
        for run in known
        if run.update == update and set(run.pools) == wanted and (now - run.touched).total_seconds() <= within
    ]
    found = max(same, key=lambda run: run.touched, default=None)
    return found, [run for run in known if run is not found]


def narrow(run: Run, servers: t.Collection[str]) -> list[str]:
    """Forget what is a server of the pools no longer; return those of them that were taken out and are not back."""
    gone = [name for name in run.half if name not in servers]
    run.hosts = {name: host for name, host in run.hosts.items() if name in servers}
    run.batch, run.failures, run.set_aside = (
        [name for name in names if name in servers] for names in (run.batch, run.failures, run.set_aside)
    )
    return gone


def in_and_out(run: Run, serving: t.Collection[str], watched: t.Collection[str]) -> tuple[list[str], list[str]]:
    """Where the balancers know better than the notes, which were written before what they tell of was done.

    :param serving: Servers that balancers say are in service. :param watched: Servers that a balancer was asked about.
    :returns: Servers noted as taken out that serve all the same; they are as good as untouched, since what serves goes
        through the gate before it is taken out. And servers that were rolled back and do not serve.
    """
    untouched = [name for name in run.at("out", "updating", "failed") if name in serving]
    out = [name for name in run.at("rolled_back") if name in watched and name not in serving]
    return untouched, out


def others_keep_out(run: Run, resting: t.Collection[str]) -> list[str]:
    """Servers that balancers were told to keep out of service, and not by a run.

    :param resting: Servers that balancers were told to keep out.
    """
    return [name for name, host in run.hosts.items() if name in resting and (host.step == "untouched" or host.kept_out)]


def follows(run: Run, note: str, hosts: t.Collection[str]) -> list[str]:
    """The servers among some to which a note applies: those one step before it.

    A server that failed does not come back on the strength of its batch, nor is one that is updated taken for new.
    """
    before = {
        "out": ("untouched", "rolled_back", "failed", "out", "updating"),
        "updating": ("out",),
        "updated": ("updating",),
        "healthy": ("updated", "healthy"),
        "in": ("updated", "healthy"),
        "failed": (*STEPS, "rolled_back"),
        "rolled_back": ("failed",),
    }
    return [name for name in hosts if name in run.hosts and run.hosts[name].step in before[note]]


def lost(run: Run, hosts: t.Collection[str]) -> list[str]:
    """Servers of the newest batch that the play has lost without a word: unreachable, or failed where nobody caught it.

    :param hosts: Servers of the batch that the play still has.
    """
    return [name for name in run.batch if name not in hosts and run.hosts[name].step in STEPS[:-1]]


def seconds_out(run: Run, names: t.Iterable[str], now: datetime.datetime) -> dict[str, float]:
    """How long each of some servers has been out, in seconds: what an update of it takes."""
    return {
        name: (now - run.hosts[name].out_since).total_seconds()
        for name in names
        if run.hosts[name].out_since is not None and not run.hosts[name].kept_out
    }


def stale(plan: dict[str, t.Any], now: datetime.datetime) -> bool:
    """Whether a plan's time is over: its last batch should have ended, or must have."""
    return now >= min(timing.moment(plan["window"]["end"]), timing.moment(plan["deadline"]))


def remaining(plan: dict[str, t.Any], hosts: t.Collection[str]) -> dict[str, t.Any] | None:
    """A plan of which only some hosts are left; its batches keep their numbers' order, and count from 1 again.

    :returns: None where no host is left. Fewer servers go out at once than was planned, never more.
    """
    batches = []
    for batch in plan["batches"]:
        kept = [host for host in batch["hosts"] if host in hosts]
        if kept:
            more = len(batch["hosts"]) - len(kept)
            spare = {"spare_servers": batch["spare_servers"] + more} if "spare_servers" in batch else {}
            batches.append({**batch, **spare, "number": len(batches) + 1, "hosts": kept})
    if not batches:
        return None
    return {
        **plan,
        "batches": batches,
        "hosts": [host for batch in batches for host in batch["hosts"]],
        "serial": [len(batch["hosts"]) for batch in batches],
        "batch_of": {host: batch["number"] for batch in batches for host in batch["hosts"]},
    }


def pause(run: Run, hosts: t.Collection[str], now: datetime.datetime) -> float:
    """Seconds until a batch of some hosts begins by plan; 0 where it is due, or put right before the plan."""
    starts = [batch.get("start") for batch in (run.plan or {}).get("batches", ()) if set(batch["hosts"]) & set(hosts)]
    return max([0.0, *((timing.moment(start) - now).total_seconds() for start in starts if start)])


def expected_end(plan: dict[str, t.Any], number: int, now: datetime.datetime) -> datetime.datetime:
    """When the last batch ends, if batch O(number) begins now and all go as fast as planned."""
    begin = timing.moment(plan["batches"][number - 1]["start"])
    return now + (timing.moment(plan["window"]["end"]) - begin)
