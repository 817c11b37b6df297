# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operation behind the action ``update_run``: a run begins or is taken up again, and what happens is noted."""

from __future__ import annotations

import datetime
import time
import typing as t

from .. import history, options, timing
from ..errors import InvalidOption, Locked, LowtideError
from ..planning import journal
from ..planning.journal import Run
from . import controller, update_plan
from .run_book import Book

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
    resting=dict(type="list", elements="str", default=[]),
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
    words = []
    # What has stopped has let its pools go.
    if params["note"] != "look" and not params["note"] == run.phase == "stopped":
        try:
            run = book.hold(run)
            words = _note(book, run, params)
        except Locked as exc:
            # A run that has lost its pools has nothing to let go.
            if params["note"] != "stopped":
                raise
            words = [str(exc)]
    _check_failures(run, params["max_failures"])
    if params["note"] in ("done", "stopped"):
        book.release()
    return _result(book, run, words, changed=not check_mode and params["note"] != "look")


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
    gone = journal.narrow(run, book.servers())
    untouched, out = journal.in_and_out(run, params["serving"], params["watched"])
    lowered = [name for name in run.at("out") if name in untouched]
    note = {
        "event": "resumed",
        "servers": book.servers(),
        "holder": book.holder,
        "command": controller.command(book.process),
        "untouched": untouched,
        "out": out,
        "kept_out": [name for name in journal.others_keep_out(run, params["resting"]) if name not in out],
    }
    book.write(run, note)
    words = [
        f"taking up the update {run.update!r} begun {timing.iso(run.begun)}: {len(run.done)} of {len(run.hosts)} servers "
        f"are done, {len(run.left)} are untouched"
    ]
    words += _gone_words(gone) + _half_words(run)
    result = _result(book, run, words, resumed=True, changed=not book.check_mode)
    return {**result, "lowered": lowered}


def _begun(book: Book, others: list[Run]) -> dict[str, t.Any]:
    """A run begins, with what earlier ones left behind."""
    params, servers = book.params, book.servers()
    for other in others:
        other_note = {"event": "superseded", "why": f"by {params['update']}"}
        book.write(other, other_note)
    gone = [name for other in others for name in journal.narrow(other, servers)]
    half = dict.fromkeys(
        name
        for other in others
        for name in (*other.half, *journal.in_and_out(other, params["serving"], params["watched"])[1])
        if not other.hosts[name].kept_out
    )
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
        "kept_out": [name for name in servers if name in params["resting"] and name not in half],
    }
    book.write(run, note)
    words = [f"update {run.update!r} of {', '.join(run.pools)}: {len(servers)} servers"]
    words += [
        f"the update {other.update!r} begun {timing.iso(other.begun)} was not finished; this one takes its place"
        for other in others
    ]
    result = _result(book, run, words + _gone_words(gone) + _half_words(run), changed=not book.check_mode)
    return {**result, "lowered": lowered}


def _gone_words(gone: t.Sequence[str]) -> list[str]:
    if not gone:
        return []
    names = list(dict.fromkeys(gone))
    return [
        f"{', '.join(names)} {_were(names)} taken out and not brought back, and {_are(names)} of none of the pools now: left alone"
    ]


def _half_words(run: Run) -> list[str]:
    words = []
    again = [name for name in run.half if name not in run.returning]
    if again:
        words.append(f"{', '.join(again)} {_were(again)} taken out and not updated, and {_are(again)} updated first")
    if run.returning:
        names = run.returning
        words.append(f"{', '.join(names)} {_were(names)} updated and not brought back, and {_are(names)} now")
    if run.kept_out:
        names = run.kept_out
        words.append(f"{', '.join(names)} {_were(names)} out of service before, and {_are(names)} updated and left out")
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
    # A plan made before servers joined the pool, or under a narrower limit, would leave some out.
    plan = (
        run.plan if run.plan and not journal.stale(run.plan, book.now) and set(left) <= set(run.plan["hosts"]) else None
    )
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
        "bring": [
            name
            for name in run.at("updated", "healthy", "rolled_back")
            if name in in_batch and not run.hosts[name].kept_out
        ],
        "kept_out": run.kept_out,
        "standbys": run.woken,
        "plan": journal.remaining(plan, left) if plan else None,
        "why": run.why,
        "words": words,
    }
