# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the action ``update_run``: a run begins or is taken up again, and what happens is noted."""

from __future__ import annotations

import contextlib
import datetime
import time
import typing as t

from .. import history, options, timing
from ..errors import InvalidOption, Locked, LowtideError, NotFound
from ..planning import journal
from ..planning.journal import Run
from . import controller, tenants, update_plan
from .lease import NAME

# Kinds of record in the ledger.
RUN, DURATION = "update-run", "update-duration"

# What a lease is for, in words.
_WHY = "update "

# Notes that bring servers to the step of their name.
_STEPS = (*journal.STEPS, "failed", "rolled_back")

NOTES = [
    "begin",
    "look",
    "planned",
    "waking",
    "woken",
    "batch",
    "set_aside",
    *_STEPS,
    "stopped",
    "sleeping",
    "asleep",
    "done",
]

SPEC: options.ArgumentSpec = dict(
    options.COMMON,
    **options.STATE,
    note=dict(type="str", choices=NOTES, required=True),
    run=dict(type="str"),
    update=dict(type="str"),
    hosts=dict(type="list", elements="str", default=[]),
    serving=dict(type="list", elements="str", default=[]),
    watched=dict(type="list", elements="str", default=[]),
    standbys=dict(type="list", elements="str", default=[]),
    plan=dict(type="dict"),
    why=dict(type="str"),
    max_failures=dict(type="int"),
    expect=dict(type="str", default="0s"),
    lease=dict(type="str", default="2m"),
    resume_within=dict(type="str", default="24h"),
    take_over=dict(type="bool", default=False),
    wait_for_killed=dict(type="str", default="10m"),
)


class TooManyFailed(LowtideError):
    """More servers failed than the run may lose."""


def update_run(
    params: dict[str, t.Any], *, check_mode: bool, process: int, say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """Begin a run or take it up, or note what happened to it.

    :param process: Number of the process that runs the playbook.
    :param say: Told what takes long, before it does.
    :returns: Where the run stands; see the return values of the module.
    :raises Locked: when another run has these pools. :raises TooManyFailed: with O(max_failures).
    """
    book = Book(params, check_mode=check_mode, process=process)
    if params["note"] == "begin":
        return _begin(book, say)
    if not (params["run"] or check_mode):
        raise InvalidOption("it is not given", option="run", remedy="Give what note=begin returned as 'run'")
    foretold = not params["run"] or (check_mode and params["note"] in ("batch", *_STEPS))
    run = book.foretold() if foretold else book.read(params["run"])
    words = [] if params["note"] == "look" else _note(book, run, params)
    _check_failures(run, params["max_failures"])
    if params["note"] in ("done", "stopped"):
        book.release()
    return _result(book, run, words, changed=not check_mode and params["note"] != "look")


class Book:
    """The notes of a run, in the ledger of the pools' tenant, and the leases of its pools."""

    def __init__(self, params: dict[str, t.Any], *, check_mode: bool, process: int) -> None:
        self.params, self.check_mode, self.process = params, check_mode, process
        self.pools = tenants.chosen(params)
        self.holder = controller.holder(process)
        self.now = self.moment()
        self.seconds = timing.duration(params["lease"], "lease") + timing.duration(params["expect"], "expect")
        # A run is written down once, with the first tenant; leases lie with each pool's own.
        self.tenants = sorted({pool["tenant"] for pool in self.pools.values()})

    @contextlib.contextmanager
    def ledger(self, tenant: str | None = None) -> t.Iterator[t.Any]:
        """The ledger of a tenant, opened for one short use: others may wait for it."""
        with history.open_state(self.params, tenant=tenant or self.tenants[0], read_only=self.check_mode) as store:
            yield store

    def read(self, name: str) -> Run:
        """A run by its name.

        :raises NotFound: when there is none.
        """
        with self.ledger() as store:
            records = store.records(RUN, name)
        if not records:
            raise NotFound(f"there is no run {name!r}", option="run", remedy="Give what note=begin returned as 'run'")
        return journal.read(name, [(record.at, record.body) for record in records])

    def runs(self, since: datetime.datetime) -> list[Run]:
        """The runs that were begun or written to since some time."""
        with self.ledger() as store:
            names = {record.name for record in store.records(RUN, since=since)}
            return [
                journal.read(name, [(record.at, record.body) for record in store.records(RUN, name)])
                for name in sorted(names)
            ]

    def foretold(self) -> Run:
        """A run that check mode did not begin, as if every server were where the task says."""
        run = Run("", pools=list(self.pools), hosts={name: journal.Host() for name in self.servers()})
        if self.params["plan"]:
            run.plan = update_plan.load(self.params["plan"])
        # A limit names others too, such as localhost.
        run.batch = [name for name in self.params["hosts"] if name in run.hosts]
        step = {"updating": "out", "updated": "updating", "healthy": "updated", "in": "healthy"}
        for name in run.batch:
            run.hosts[name].step = step.get(self.params["note"], "untouched")
        return run

    def servers(self) -> list[str]:
        """Every server of the pools."""
        return [server for pool in self.pools.values() for server in pool["servers"]]

    def write(self, run: Run, note: journal.Note) -> None:
        """Write a note, and bring the run forward by it. Its leases last longer by it too."""
        if not self.check_mode:
            with self.ledger() as store:
                store.append(RUN, run.name, note, now=self.now)
        journal.forward(run, self.now, note)

    def renew(self) -> None:
        """Hold the pools for longer.

        :raises Locked: when another run has one.
        """
        for tenant, names in self._by_tenant().items() if not self.check_mode else ():
            with self.ledger(tenant) as store:
                for name in names:
                    store.renew(NAME.format(name), holder=self.holder, seconds=self.seconds, now=self.now)

    def take(self, update: str, *, patient: bool) -> None:
        """Take the pools. What is no update is short, such as a pass of autoscale, and is waited for.

        :param patient: Whether another update is waited for too.
        :raises Locked: when another run has one, for longer than O(wait_for_killed).
        """
        end = time.monotonic() + timing.duration(self.params["wait_for_killed"], "wait_for_killed")
        while True:
            try:
                for tenant, names in self._by_tenant().items() if not self.check_mode else ():
                    with self.ledger(tenant) as store:
                        for name in names:
                            self._take(store, name, f"{_WHY}{update}")
                return
            except history.LeaseHeld as exc:
                held = exc.lease
                if time.monotonic() > end or not (patient or not held.why.startswith(_WHY)):
                    raise Locked(
                        f"{held.name} is held by {held.holder} to {held.why} since {timing.iso(held.since)}",
                        option="pool",
                        remedy=f"Wait for it. If it was killed, its hold ends at {timing.iso(held.until)}; when you are sure, "
                        "take_over=true (lowtide_update_take_over) ends it now",
                    ) from exc
            time.sleep(1.0)
            self.now = self.moment()

    def _take(self, store: t.Any, pool: str, why: str) -> None:
        """Take one lease: also from a run of this user's and host's that was killed, or from any if told to."""
        terms = {"holder": self.holder, "seconds": self.seconds, "now": self.now, "why": why}
        try:
            store.acquire(NAME.format(pool), **terms)
        except history.LeaseHeld as exc:
            if not (self.params["take_over"] or controller.gone(exc.lease.holder, exc.lease.since)):
                raise
            store.release(NAME.format(pool), holder=exc.lease.holder)
            store.acquire(NAME.format(pool), **terms)

    def moment(self) -> datetime.datetime:
        return timing.moment(self.params["now"] or datetime.datetime.now(datetime.UTC), "now")

    def release(self) -> None:
        """Let the pools go."""
        for tenant, names in self._by_tenant().items() if not self.check_mode else ():
            with self.ledger(tenant) as store:
                for name in names:
                    store.release(NAME.format(name), holder=self.holder)

    def _by_tenant(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for name in sorted(self.pools):
            result.setdefault(self.pools[name]["tenant"], []).append(name)
        return result

    def learn(self, seconds: dict[str, float]) -> None:
        """Keep how long servers were out, for the planner to learn from."""
        if self.check_mode or not seconds:
            return
        for tenant, names in self._by_tenant().items():
            with self.ledger(tenant) as store:
                for name in names:
                    for server in (server for server in self.pools[name]["servers"] if server in seconds):
                        body = {"seconds": round(seconds[server], 1), "server": server}
                        store.append(DURATION, name, body, now=self.now)


def _begin(book: Book, say: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Take the pools, and find the run to take up or begin one."""
    params = book.params
    if not params["update"]:
        raise InvalidOption("it is not given", option="update", remedy="Name the update, by its version for example")
    if not params["state"] and params["history"]["type"] != "prometheus":
        # A journal beside the series is not where a path is mistyped: there would be no series.
        history.open_state(params, tenant=book.tenants[0], read_only=True).close()
    book.take(params["update"], patient=False)
    within = timing.duration(params["resume_within"], "resume_within")
    try:
        # A run of some weeks ago still has what it took out.
        runs = book.runs(book.now - datetime.timedelta(seconds=max(within, 30 * 86400.0)))
        run, others = journal.take_up(
            runs, update=params["update"], pools=list(book.pools), now=book.now, within=within
        )
        _await_killed([*([run] if run else []), *others], book, say)
        return _taken_up(book, run) if run else _begun(book, others)
    except LowtideError:
        book.release()
        raise


def _await_killed(runs: list[Run], book: Book, say: t.Callable[[str], None]) -> None:
    """Wait until no task of a killed run works on: two at once would undo each other's work.

    :raises Locked: when some still do after O(wait_for_killed).
    """
    if book.check_mode:
        return
    end = time.monotonic() + timing.duration(book.params["wait_for_killed"], "wait_for_killed")
    told = False
    for digest in {run.command for run in runs}:
        while left := controller.left_behind(digest, book.process):
            if time.monotonic() > end:
                raise Locked(
                    f"tasks of the run that was killed still work, as process {', '.join(map(str, left))}",
                    option="wait_for_killed",
                    remedy="Wait for them, or end them",
                )
            if not told:
                say(
                    f"waiting for tasks of the run that was killed, which still work: process {', '.join(map(str, left))}"
                )
                told = True
            book.renew()
            time.sleep(0.5)
    book.now = book.moment()


def _taken_up(book: Book, run: Run) -> dict[str, t.Any]:
    """An open run goes on."""
    params = book.params
    untouched, out = journal.in_and_out(run, params["serving"], params["watched"])
    lowered = [name for name in run.at("out") if name in untouched]
    note = {
        "event": "resumed",
        "servers": book.servers(),
        "holder": book.holder,
        "command": controller.command(book.process),
        "untouched": untouched,
        "out": out,
    }
    book.write(run, note)
    words = [
        f"taking up the update {run.update!r} begun {timing.iso(run.begun)}: {len(run.done)} of {len(run.hosts)} servers "
        f"are done, {len(run.left)} are untouched"
    ]
    result = _result(book, run, words + _half_words(run), resumed=True, changed=not book.check_mode)
    return {**result, "lowered": lowered}


def _begun(book: Book, others: list[Run]) -> dict[str, t.Any]:
    """A run begins, with what earlier ones left behind."""
    params, servers = book.params, book.servers()
    for other in others:
        other_note = {"event": "superseded", "why": f"by {params['update']}"}
        book.write(other, other_note)
    half = dict.fromkeys(name for other in others for name in other.half if name in servers)
    out = [name for name in half if name not in params["serving"]]
    lowered = [name for other in others for name in other.at("out") if name in half and name not in out]
    # Check mode begins none, so there is none to be named.
    run = Run("" if book.check_mode else f"{params['update']} {timing.iso(book.now)}")
    note = {
        "event": "begun",
        "update": params["update"],
        "pools": list(book.pools),
        "servers": servers,
        "holder": book.holder,
        "command": controller.command(book.process),
        "out": out,
        "woken": list(dict.fromkeys(name for other in others for name in other.woken)),
    }
    book.write(run, note)
    words = [f"update {run.update!r} of {', '.join(run.pools)}: {len(servers)} servers"]
    words += [
        f"the update {other.update!r} begun {timing.iso(other.begun)} was not finished; this one takes its place"
        for other in others
    ]
    result = _result(book, run, words + _half_words(run), changed=not book.check_mode)
    return {**result, "lowered": lowered}


def _half_words(run: Run) -> list[str]:
    words = []
    again = [name for name in run.half if name not in run.returning]
    if again:
        words.append(f"{', '.join(again)} {_were(again)} taken out and not updated, and {_are(again)} updated first")
    if run.returning:
        names = run.returning
        words.append(f"{', '.join(names)} {_were(names)} updated and not brought back, and {_are(names)} now")
    if run.woken:
        words.append(f"the standbys {', '.join(run.woken)} were woken for it and stay in use")
    return words


def _were(names: t.Sized) -> str:
    return "was" if len(names) == 1 else "were"


def _are(names: t.Sized) -> str:
    return "is" if len(names) == 1 else "are"


def _note(book: Book, run: Run, params: dict[str, t.Any]) -> list[str]:
    """Write down what happened; return it in words."""
    note, hosts = params["note"], params["hosts"]
    if note == run.phase == "stopped":
        return []  # Its pools are let go already.
    if run.phase == "planned":
        book.take(run.update, patient=True)
    else:
        book.renew()
    if note in ("updated", "healthy", "in"):
        _note_lost(book, run, hosts)
    if note in _STEPS:
        hosts = journal.follows(run, note, hosts)
        if note == "in":
            book.learn(journal.seconds_out(run, hosts, book.now))
        if hosts:
            book.write(run, {"event": note, "hosts": hosts, **({"why": params["why"]} if params["why"] else {})})
        return [f"{', '.join(hosts)}: {note.replace('_', ' ')}"] if hosts else []
    body: journal.Note = {"event": note}
    if note == "planned":
        body["plan"] = update_plan.load(params["plan"])
    elif note in ("waking", "woken", "sleeping", "asleep"):
        body["standbys"] = params["standbys"]
    elif note == "batch":
        body |= {"hosts": hosts, "number": _number(run, hosts)}
    elif note == "set_aside":
        body["hosts"] = hosts
    elif note == "stopped":
        body["why"] = params["why"] or ""
    book.write(run, body)
    if note == "planned" and timing.duration(params["expect"], "expect") > 0:
        book.release()  # Until the low tide comes, others may scale the pools.
    return _progress(run, book.now) if note == "batch" else []


def _note_lost(book: Book, run: Run, hosts: list[str]) -> None:
    """Note the servers of the batch that the play has lost."""
    lost = journal.lost(run, hosts)
    if lost and not book.check_mode:
        book.write(run, {"event": "failed", "hosts": lost, "why": "it could not be reached, or failed"})


def _number(run: Run, hosts: t.Collection[str]) -> int:
    """The number in the plan of the batch that holds some hosts; 0 where they are put right before it."""
    batches = run.plan["batches"] if run.plan else []
    if set(hosts) & set(run.half):
        return 0
    return min((batch["number"] for batch in batches if set(batch["hosts"]) & set(hosts)), default=0)


def _progress(run: Run, now: datetime.datetime) -> list[str]:
    """Where the run stands, for the person who watches."""
    names, done = ", ".join(run.batch), f"{len(run.done)} of {len(run.hosts)} servers are updated"
    if not run.number or run.plan is None:
        return [f"putting right {names}; {done}"]
    batch, end = run.plan["batches"][run.number - 1], journal.expected_end(run.plan, run.number, now)
    spare = f"{batch['spare_servers']} servers to spare by plan; " if "spare_servers" in batch else ""
    return [
        f"batch {run.number} of {len(run.plan['batches'])} ({names}): {done}; {spare}expected end {timing.iso(end)}, in "
        f"{timing.words((end - now).total_seconds())}"
    ]


def _check_failures(run: Run, most: int | None) -> None:
    """Stop the run when it has lost more servers than it may.

    :raises TooManyFailed: naming them, and why.
    """
    if most is None or len(run.failures) <= most:
        return
    whys = "; ".join(f"{name}: {run.hosts[name].why}" for name in run.failures if run.hosts[name].why)
    raise TooManyFailed(
        f"{', '.join(run.failures)} failed or can't be reached, and at most {most} may"
        + (f" ({whys})" if whys else ""),
        remedy="Put the cause right and run the same again: it goes on where this ended",
    )


def _result(
    book: Book, run: Run, words: list[str], *, resumed: bool = False, changed: bool = False
) -> dict[str, t.Any]:
    """Where the run stands, as the face returns it."""
    in_batch, asked = set(run.batch), set(book.params["hosts"])
    left = [name for name in run.left if not asked or name in asked or book.params["note"] != "look"]
    plan = run.plan if run.plan and not journal.stale(run.plan, book.now) else None
    return {
        "changed": changed,
        "run": run.name,
        "update": run.update,
        "resumed": resumed,
        "phase": run.phase,
        "done": run.done,
        "returning": run.returning,
        "half": run.half,
        "left": left,
        "broken": {name: run.hosts[name].why for name in run.at("failed", "rolled_back")},
        "failures": run.failures,
        "batch": run.batch,
        "set_aside": run.set_aside,
        "bring": [name for name in run.at("updated", "healthy", "rolled_back") if name in in_batch],
        "standbys": run.woken,
        "plan": journal.remaining(plan, left) if plan else None,
        "why": run.why,
        "words": words,
    }
