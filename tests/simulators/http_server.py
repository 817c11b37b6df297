#!/usr/bin/env python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small HTTP server of a known service time, to stand behind a balancer.

``/`` takes the service time, ``/long?seconds=2`` that long, ``/health`` answers 200 once started, ``/version`` the version
it runs, and ``/control?errors=0.02&latency=3&healthy=false`` turns its knobs. SIGTERM ends it gracefully: it stops
listening, finishes what is in flight, and closes connections as they fall idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import random
import signal
import sys
import time
import urllib.parse

import httptools

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from processes import Program, listening

REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error", 503: "Unavailable"}


class Server:
    """The state that all connections of one server share.

    :param version_file: Holds the version as plain text, or as JSON with C(version) and any of the knobs C(errors) and
        C(latency); read once, as a program reads its own code.
    :param service_time: Mean seconds a request of ``/`` takes; gamma distributed with shape 4.
    :param startup: Seconds after the start in which ``/health`` answers 503.
    """

    def __init__(
        self,
        *,
        name: str = "server",
        version_file: pathlib.Path | None = None,
        service_time: float = 0.01,
        startup: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.version, self.errors, self.latency = "1", 0.0, 1.0
        if version_file is not None and version_file.exists():
            self._read(version_file.read_text(encoding="utf-8").strip())
        self.service_time = service_time
        self.healthy = True
        self.healthy_from = time.monotonic() + startup
        self.random = random.Random(f"{name}/{seed}")
        self.connections: set[Connection] = set()
        self.ending = False

    def _read(self, text: str) -> None:
        if not text.startswith("{"):
            self.version = text
            return
        values = json.loads(text)
        self.version = str(values["version"])
        self.errors = float(values.get("errors", 0.0))
        self.latency = float(values.get("latency", 1.0))

    def answer(self, method: str, target: str) -> tuple[float, int, str]:
        """Seconds to wait, status and body for one request."""
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        if method not in ("GET", "HEAD"):
            return 0.0, 405, "only GET\n"
        if url.path == "/health":
            healthy = self.healthy and not self.ending and time.monotonic() >= self.healthy_from
            return 0.0, 200 if healthy else 503, "up\n" if healthy else "starting or told to fail\n"
        if url.path == "/version":
            return 0.0, 200, f"{self.version}\n"
        if url.path == "/control":
            return 0.0, 200, self.control(query)
        if url.path not in ("/", "/long"):
            return 0.0, 404, "no such path\n"
        seconds = (
            float(query.get("seconds", 2))
            if url.path == "/long"
            else self.random.gammavariate(4, self.service_time / 4)
        )
        status = 500 if self.random.random() < self.errors else 200
        return seconds * self.latency, status, f"{self.name} {self.version}\n"

    def control(self, query: dict[str, str]) -> str:
        """Turn the knobs named in a query, and tell where all of them stand."""
        self.errors = float(query.get("errors", self.errors))
        self.latency = float(query.get("latency", self.latency))
        self.healthy = query.get("healthy", str(self.healthy)).lower() == "true"
        return json.dumps({"errors": self.errors, "latency": self.latency, "healthy": self.healthy}) + "\n"


class Connection(asyncio.Protocol):
    """One connection: requests are answered in the order they came, one at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.waiting: list[tuple[str, str, bool]] = []
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        self.waiting.append((method, self.target.decode("latin-1"), self.parser.should_keep_alive()))
        self.target = b""
        self._next()

    def _next(self) -> None:
        if self.busy or not self.waiting:
            return
        self.busy = True
        method, target, keep = self.waiting.pop(0)
        seconds, status, body = self.server.answer(method, target)
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._answer, status, body, keep)
        else:
            self._answer(status, body, keep)

    def _answer(self, status: int, body: str, keep: bool) -> None:
        self.busy = False
        if self.transport.is_closing():
            return
        keep = keep and not self.server.ending
        self.transport.write(
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n{body}".encode()
        )
        if not keep:
            self.transport.close()
        self._next()

    def finish(self) -> None:
        """Close the connection if it is idle; else it closes with the answer under way."""
        if not self.busy and not self.waiting:
            self.transport.close()


async def serve(server: Server, address: str, port: int, *, grace: float = 30.0) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight, for at most O(grace) seconds."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    listener = await loop.create_server(lambda: Connection(server), address, port, backlog=512, reuse_address=True)
    print(f"{server.name} {server.version} on {address}:{port}", flush=True)
    await told.wait()
    server.ending = True
    listener.close()
    for connection in list(server.connections):
        connection.finish()
    end = loop.time() + grace
    while server.connections and loop.time() < end:
        await asyncio.sleep(0.02)


class HttpServer:
    """A server as a process of its own, with a start and a stop.

    :param directory: Takes its log and, with O(write_version), its version file.
    """

    def __init__(self, directory: pathlib.Path, name: str, address: str, port: int, **options: object) -> None:
        self.name, self.address, self.port = name, address, port
        self.version_file = directory / f"{name}.version"
        argv = [sys.executable, __file__, "--name", name, "--address", address, "--port", str(port)]
        argv += ["--version-file", str(self.version_file)]
        for option, value in options.items():
            argv += [f"--{option.replace('_', '-')}", str(value)]
        self.program = Program(argv, log=directory / f"{name}.log", ready=lambda: listening(address, port))

    def write_version(self, version: str, **knobs: float) -> None:
        """Set the version (and knobs) that the next start runs."""
        self.version_file.write_text(json.dumps({"version": version, **knobs}), encoding="utf-8")

    def start(self) -> None:
        """Start it; it takes connections on return."""
        self.program.start()

    def stop(self) -> None:
        """End it gracefully."""
        self.program.stop(grace=35.0)

    def kill(self) -> None:
        """End it at once, with all its connections."""
        if self.program.process is not None:
            self.program.process.kill()
        self.program.stop()

    def __enter__(self) -> HttpServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="server")
    parser.add_argument("--version-file", type=pathlib.Path)
    parser.add_argument("--service-time", type=float, default=0.01, help="mean seconds of a request of /")
    parser.add_argument("--startup", type=float, default=0.0, help="seconds until /health answers 200")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to finish what is in flight at SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    address, port, grace = options.pop("address"), options.pop("port"), options.pop("grace")
    asyncio.run(serve(Server(**options), address, port, grace=grace))


if __name__ == "__main__":
    main()
