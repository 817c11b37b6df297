#!/usr/bin/env python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An open-loop HTTP load generator that counts every request that failed.

Requests leave at the rate of a given shape, whatever the answers do: a slow server does not slow the load down. They
share keep-alive connections, and a share of them can go to other paths, long requests for example. A request counts as
failed when its status is not 2xx, its connection is refused or reset, it ends early, or it takes too long; nothing is
sent twice.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import csv
import json
import pathlib
import random
import signal
import sys
import time
import typing as t
import urllib.parse

import httptools

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from processes import Program

TICK = 0.004
IDLE_LIMIT = 5.0


class Request(t.NamedTuple):
    """One request as it was sent: seconds since the start of the load, and its path."""

    at: float
    path: str


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.request: Request | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.transport: t.Any = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.load.connections.add(self)

    def send(self, request: Request) -> None:
        """Send a request on this idle connection."""
        self.request = request
        self.parser = httptools.HttpResponseParser(self)
        self.timer = self.load.loop.call_later(self.load.timeout, self._fail, "timeout")
        self.transport.write(f"GET {request.path} HTTP/1.1\r\nHost: {self.load.host}\r\n\r\n".encode("latin-1"))

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self.transport.close()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("not HTTP")

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        keep = self.parser.should_keep_alive()
        self._done(None if 200 <= status < 300 else f"status {status}")
        if keep:
            self.idle_since = self.load.loop.time()
            self.load.idle.append(self)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.connections.discard(self)
        if self.request is not None:
            self._done("closed early" if exc is None else "reset")

    def _fail(self, reason: str) -> None:
        self._done(reason)
        self.transport.abort()

    def _done(self, reason: str | None) -> None:
        request, self.request = self.request, None
        if self.timer is not None:
            self.timer.cancel()
        if request is not None:
            self.load.count(request, reason)


class Load:
    """Sends a load and counts what became of it.

    :param url: Base address, C(http://host:port).
    :param rates: Requests per second at each point of the shape; linear between points.
    :param seconds_per_point: Seconds from one point to the next. A shape of one point is steady for so long.
    :param paths: Share by path; shares need not add up to 1.
    :param timeout: Seconds a request may take.
    """

    def __init__(
        self,
        url: str,
        rates: t.Sequence[float],
        *,
        seconds_per_point: float = 1.0,
        paths: dict[str, float] | None = None,
        timeout: float = 10.0,
        seed: int = 0,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self.address, self.port = parts.hostname, parts.port or 80
        self.host = parts.netloc
        self.rates = list(rates)
        self.seconds_per_point = seconds_per_point
        self.paths = paths or {"/": 1.0}
        self.timeout = timeout
        self.random = random.Random(seed)
        self.connections: set[Connection] = set()
        self.idle: collections.deque[Connection] = collections.deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.sent: collections.Counter[tuple[int, str]] = collections.Counter()
        self.failed: collections.Counter[tuple[int, str]] = collections.Counter()
        self.latencies: dict[tuple[int, str], list[float]] = collections.defaultdict(list)
        self.reasons: collections.Counter[str] = collections.Counter()
        self.started_at = 0.0
        self.stopped = False

    @property
    def seconds(self) -> float:
        """How long the shape lasts."""
        return self.seconds_per_point * max(1, len(self.rates) - 1)

    def rate(self, at: float) -> float:
        """Requests per second so many seconds after the start."""
        place = min(max(at / self.seconds_per_point, 0.0), len(self.rates) - 1)
        left = int(place)
        right = min(left + 1, len(self.rates) - 1)
        return self.rates[left] + (self.rates[right] - self.rates[left]) * (place - left)

    def count(self, request: Request, reason: str | None) -> None:
        """Book what became of a request; no reason means that it went well."""
        bucket = (int(request.at), request.path)
        if reason is None:
            self.latencies[bucket].append(self.loop.time() - self.start - request.at)
        else:
            self.failed[bucket] += 1
            self.reasons[reason] += 1

    async def run(self) -> dict[str, t.Any]:
        """Send the whole shape, wait for the last answers, and report."""
        self.loop = asyncio.get_running_loop()
        self.started_at, self.start = time.time(), self.loop.time()
        paths, shares = list(self.paths), list(self.paths.values())
        due, last = 0.0, 0.0
        while not self.stopped and last < self.seconds:
            await asyncio.sleep(TICK)
            now = min(self.loop.time() - self.start, self.seconds)
            due += self.rate((last + now) / 2) * (now - last)
            last = now
            while due >= 1.0:
                due -= 1.0
                self._send(Request(now, self.random.choices(paths, shares)[0]))
        while self._in_flight():
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.transport.close()
        return self.report()

    def stop(self) -> None:
        """Send no more; C(run) returns once what is in flight has ended."""
        self.stopped = True

    def _in_flight(self) -> bool:
        return bool(self.tasks) or any(connection.request for connection in self.connections)

    def _send(self, request: Request) -> None:
        self.sent[int(request.at), request.path] += 1
        oldest = self.loop.time() - IDLE_LIMIT
        while self.idle and (self.idle[0].idle_since < oldest or self.idle[0].transport.is_closing()):
            self.idle.popleft().transport.close()
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.send(request)
                return
        task = self.loop.create_task(self._connect(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, request: Request) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                _transport, connection = await self.loop.create_connection(
                    lambda: Connection(self), self.address, self.port
                )
        except ConnectionRefusedError:
            self.count(request, "connection refused")
        except TimeoutError:
            self.count(request, "timeout")
        except OSError as exc:
            self.count(request, f"no connection: {exc.strerror}")
        else:
            connection.send(request)

    def report(self) -> dict[str, t.Any]:
        """Totals, failures by reason, latency in milliseconds, and the same by path."""
        by_path = {path: self._summary(path) for path in self.paths}
        return {
            **self._summary(None),
            "reasons": dict(self.reasons.most_common()),
            "started_at": self.started_at,
            "seconds": round(self.loop.time() - self.start, 3),
            "cpu_seconds": round(time.process_time(), 3),
            "paths": by_path,
        }

    def _summary(self, path: str | None) -> dict[str, t.Any]:
        sent = sum(count for (_second, where), count in self.sent.items() if path in (None, where))
        failed = sum(count for (_second, where), count in self.failed.items() if path in (None, where))
        took = sorted(one for (_second, where), many in self.latencies.items() if path in (None, where) for one in many)
        quantiles = {"p50_ms": quantile(took, 0.5), "p95_ms": quantile(took, 0.95), "p99_ms": quantile(took, 0.99)}
        return {"sent": sent, "ok": sent - failed, "failed": failed, **quantiles}

    def write_csv(self, path: pathlib.Path) -> None:
        """One line per second and path: C(time) in epoch seconds, C(path), C(sent), C(failed), C(p50_ms), C(p95_ms)."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "path", "sent", "failed", "p50_ms", "p95_ms"])
            for second, where in sorted(self.sent):
                took = sorted(self.latencies[second, where])
                row = [self.sent[second, where], self.failed[second, where], quantile(took, 0.5), quantile(took, 0.95)]
                writer.writerow([round(self.started_at + second, 3), where, *row])


def quantile(ordered: t.Sequence[float], level: float) -> float | None:
    """A quantile in milliseconds of ordered seconds; nothing of nothing."""
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(level * len(ordered)))], 3)


class LoadGenerator:
    """A load as a process of its own.

    :param directory: Takes C(<name>.json), C(<name>.csv) and the log.
    """

    def __init__(
        self, directory: pathlib.Path, url: str, rates: t.Sequence[float], *, name: str = "load", **options: t.Any
    ):
        self.report_file = directory / f"{name}.json"
        self.csv_file = directory / f"{name}.csv"
        shape_file = directory / f"{name}.shape.json"
        shape_file.write_text(json.dumps(list(rates)), encoding="utf-8")
        argv = [sys.executable, __file__, "--url", url, "--shape", str(shape_file)]
        argv += ["--report", str(self.report_file), "--csv", str(self.csv_file)]
        for path, share in options.pop("paths", {}).items():
            argv += ["--path", f"{path} {share}"]
        for option, value in options.items():
            argv += [f"--{option.replace('_', '-')}", str(value)]
        log = directory / f"{name}.log"
        self.program = Program(argv, log=log, ready=lambda: log.exists() and b"sending" in log.read_bytes())

    def start(self) -> None:
        """Start to send."""
        self.report_file.unlink(missing_ok=True)
        self.program.log.unlink(missing_ok=True)
        self.program.start()

    def running(self) -> bool:
        """Whether it still sends."""
        return self.program.process is not None and self.program.process.poll() is None

    def wait(self, timeout: float) -> dict[str, t.Any]:
        """Wait until it has sent its shape, and return its report."""
        if self.program.process is not None:
            self.program.process.wait(timeout)
        return self.stop()

    def stop(self) -> dict[str, t.Any]:
        """End the load now, wait for the answers under way, and return its report."""
        self.program.stop(grace=30.0)
        return json.loads(self.report_file.read_text(encoding="utf-8"))

    def __enter__(self) -> LoadGenerator:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.program.stop(grace=30.0)


async def send(load: Load) -> dict[str, t.Any]:
    """Run a load that SIGTERM and SIGINT end early."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stop)
    print(f"sending to {load.host} for {load.seconds:g} s", flush=True)
    return await load.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="http://host:port")
    parser.add_argument("--shape", type=pathlib.Path, help="JSON list of requests per second, one per point")
    parser.add_argument("--rate", type=float, help="a steady rate instead of a shape")
    parser.add_argument("--seconds-per-point", type=float, default=1.0)
    parser.add_argument(
        "--path", action="append", default=[], help="'PATH SHARE', for each path wanted; '/' by default"
    )
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=pathlib.Path, help="JSON file for the totals")
    parser.add_argument("--csv", type=pathlib.Path, help="CSV file for the seconds")
    options = parser.parse_args()
    rates = [options.rate] if options.shape is None else json.loads(options.shape.read_text(encoding="utf-8"))
    paths = {path: float(share) for path, _space, share in (entry.rpartition(" ") for entry in options.path)}
    load = Load(
        options.url,
        rates,
        seconds_per_point=options.seconds_per_point,
        paths=paths,
        timeout=options.timeout,
        seed=options.seed,
    )
    report = asyncio.run(send(load))
    if options.csv is not None:
        load.write_csv(options.csv)
    text = json.dumps(report, indent=1)
    if options.report is not None:
        partial = options.report.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(options.report)
    print(text, flush=True)


if __name__ == "__main__":
    main()
