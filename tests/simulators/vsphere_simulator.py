# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vCenter to test against, over TLS that is really verified.

    with VsphereSimulator(directory, vms=[{"name": "web-s1", "folder": "standby", "power": "suspended"}]) as vcenter:
        connection = vcenter.connection     # what the modules take
        vcenter.fault("lose_reply", vm="web-s1", times=1)

Or as a tool: ``python tests/simulators/vsphere_simulator.py --config lab.json``.

The simulator itself is the Go program in ``tests/simulators/vsphere`` (see there for the configuration and the
faults). It is built on first use, from Debian's packages ``golang-go`` and ``golang-github-vmware-govmomi-dev``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request

from certificates import Authority

SOURCES = pathlib.Path(__file__).resolve().parent / "vsphere"
CACHE = pathlib.Path(__file__).resolve().parents[2] / ".cache" / "vsphere-simulator"


def build() -> pathlib.Path:
    """The simulator's program, built if its sources have changed since it last was."""
    sources = sorted(SOURCES.glob("*.go"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    program = CACHE / f"vsphere-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".new")
            environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
            try:
                subprocess.run(
                    ["go", "build", "-o", str(unfinished), "."],
                    cwd=SOURCES, env=environment, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
            except FileNotFoundError as exc:
                raise RuntimeError("go is missing: apt-get install golang-go golang-github-vmware-govmomi-dev") from exc
            except subprocess.CalledProcessError as exc:
                raise RuntimeError(f"the vSphere simulator does not build:\n{exc.stdout}") from exc
            unfinished.rename(program)
    return program


class VsphereSimulator:
    """One simulated vCenter.

    :param directory: Where its certificates, configuration and logs go; made if it is not there.
    :param vms: The virtual machines, as the Go program's configuration has them.
    :param expired: Whether its certificate has expired.
    :param config: Further keys of that configuration, such as ``defaults`` or ``listen``.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        vms: t.Sequence[dict[str, t.Any]] = (),
        *,
        expired: bool = False,
        **config: t.Any,
    ) -> None:
        self.expired = expired
        self.directory = pathlib.Path(directory)
        self.ca_path = self.directory / "authority.pem"
        self.config = {"user": "lowtide@vsphere.local", "password": "a secret & <more>", "vms": list(vms), **config}
        self.address = ""
        self.port = 0
        self._control = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> VsphereSimulator:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> None:
        """Start it, and return when it answers."""
        program = build()
        self.directory.mkdir(parents=True, exist_ok=True)
        logs = self.directory / "vms"
        logs.mkdir(exist_ok=True)
        config = {"end_with_input": True, "log_directory": str(logs), **self._certificates(), **self.config}
        path = self.directory / "vsphere.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        with open(self.directory / "vsphere.log", "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        line = self._first_line(timeout)
        if not line:
            self.stop()
            reason = (self.directory / "vsphere.log").read_text(encoding="utf-8").strip()
            raise RuntimeError(f"the vSphere simulator did not start within {timeout:g} s: {reason}")
        ready = json.loads(line)
        self.address, self._control = ready["address"], ready["control"]
        self.port = int(self.address.rpartition(":")[2])

    def stop(self, timeout: float = 20.0) -> None:
        """End it and all commands of its machines."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        """Process id of the simulator while it runs."""
        if self._process is None:
            raise RuntimeError("the vSphere simulator does not run")
        return self._process.pid

    @property
    def connection(self) -> dict[str, t.Any]:
        """The option ``connection`` of the modules."""
        return {
            "hostname": "localhost",
            "port": self.port,
            "username": self.config["user"],
            "password": self.config["password"],
            "ca_path": str(self.ca_path),
            "validate_certs": True,
        }

    def states(self) -> dict[str, dict[str, t.Any]]:
        """Power, tools, address and process id of every machine, by its name."""
        return self._ask("/vms")

    def history(self) -> list[dict[str, t.Any]]:
        """What was done to machines since the start or :meth:`forget`: time, vm, action, outcome."""
        return self._ask("/history")

    def calls(self) -> dict[str, int]:
        """How often each SOAP method was called."""
        return self._ask("/calls")

    def forget(self) -> None:
        """Begin history and calls anew."""
        self._ask("/forget", True)

    def fault(
        self, kind: str, *, vm: str = "", method: str = "", times: int = 0, seconds: float = 0.0
    ) -> None:  # fmt: skip
        """Let something go wrong; the kinds are in ``vsphere/faults.go``."""
        self._ask("/faults", [{"kind": kind, "vm": vm, "method": method, "times": times, "seconds": seconds}])

    def clear_faults(self) -> None:
        """Let all be well again."""
        self._ask("/faults", method="DELETE")

    def power(self, **wanted: str) -> None:
        """Change power states behind the client's back: ``power(web1="off")``, or with ``**{"web-s1": "on"}``."""
        self._ask("/power", wanted)

    def load(self, vm: str, counter: str, points: t.Sequence[tuple[float, float]]) -> None:
        """Set what QueryPerf answers: (epoch seconds, value from then on), in the counter's own unit."""
        self._ask("/load", {vm: {counter: [list(point) for point in points]}})

    def expire_sessions(self) -> None:
        """End every session."""
        self._ask("/expire", True)

    def shut(self, seconds: float) -> None:
        """Refuse connections for a while, and forget every session."""
        self._ask("/shut", seconds)

    def wait(self, condition: t.Callable[[dict[str, dict[str, t.Any]]], bool], timeout: float = 10.0) -> None:
        """Return when the states of the machines meet a condition."""
        deadline = time.monotonic() + timeout
        while not condition(states := self.states()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout:g} s: {states}")
            time.sleep(0.05)

    def _ask(self, path: str, value: t.Any = None, method: str | None = None) -> t.Any:
        data = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(self._control + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def _certificates(self) -> dict[str, str]:
        """A new authority, and a certificate that it signed for this machine's loopback."""
        authority = Authority(self.directory)
        self.ca_path = authority.path
        certificate, key = authority.sign("server", expired=self.expired)
        return {"certificate": certificate, "key": key}

    def _first_line(self, timeout: float) -> str:
        """The line it prints when it answers; empty when it ended or took too long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return self._process.stdout.readline() if selector.select(timeout) else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a simulated vCenter until interrupted.")
    parser.add_argument("--config", required=True, help="JSON file: vms, defaults, listen, user, password")
    parser.add_argument("--directory", default=".cache/vsphere-lab", help="where certificates and logs go")
    arguments = parser.parse_args()
    with open(arguments.config, encoding="utf-8") as file:
        config = json.load(file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with VsphereSimulator(arguments.directory, **config) as simulator:
        print(json.dumps(simulator.connection | {"control": simulator._control}), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ending", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
