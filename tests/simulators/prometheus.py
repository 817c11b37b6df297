# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Prometheus on loopback, filled with series that are given."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ports import free_port

Samples = t.Iterable[tuple[float, float]]


@dataclasses.dataclass
class Metric:
    """One metric to fill a server with.

    :param name: As in PromQL. :param kind: V(gauge) or V(counter); the name of a counter ends in V(_total).
    :param series: Labels and samples (epoch seconds, value) of each series; NaN is left out.
    """

    name: str
    series: list[tuple[dict[str, str], Samples]]
    kind: str = "gauge"


class Prometheus:
    """Starts Debian's Prometheus on a free port of loopback and waits until it answers.

    :param directory: Where its data, settings and log lie. :param metrics: What it holds.
    :param certificate: PEM files of a certificate and its key, to serve TLS with.
    :param users: Passwords by user name, for HTTP basic authentication.
    :param client_authority: PEM file of the authority that must have signed the certificate a client shows.
    """

    def __init__(
        self,
        directory: str | pathlib.Path,
        metrics: t.Sequence[Metric] = (),
        *,
        certificate: tuple[str, str] | None = None,
        users: t.Mapping[str, str] | None = None,
        client_authority: pathlib.Path | None = None,
        deadline: float = 30.0,
    ) -> None:
        self.directory = pathlib.Path(directory)
        self.metrics = metrics
        self.certificate = certificate
        self.users = dict(users or {})
        self.client_authority = client_authority
        self.deadline = deadline
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http{'s' if self.certificate else ''}://localhost:{self.port}"

    def start(self) -> Prometheus:
        """Load the blocks, start the server, wait until it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.metrics:
            self._load()
        (self.directory / "prometheus.yml").write_text("scrape_configs: []\n")
        (self.directory / "web.yml").write_text(self._web())
        self.port = free_port()
        log = (self.directory / "prometheus.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [
                    _program("prometheus"),
                    f"--config.file={self.directory / 'prometheus.yml'}",
                    f"--web.config.file={self.directory / 'web.yml'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.tsdb.path={self.directory / 'data'}",
                    "--storage.tsdb.retention.time=10y",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        return self

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Prometheus:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _load(self) -> None:
        """Make blocks of the metrics."""
        text = self.directory / "samples.om"
        with text.open("w") as file:
            for metric in self.metrics:
                file.writelines(_openmetrics(metric))
            file.write("# EOF\n")
        subprocess.run(
            [
                _program("promtool"),
                "tsdb",
                "create-blocks-from",
                "--quiet",
                "--max-block-duration=720h",
                "openmetrics",
                str(text),
                str(self.directory / "data"),
            ],
            check=True,
            capture_output=True,
        )
        text.unlink()

    def _web(self) -> str:
        """The file that turns on TLS and authentication."""
        lines = []
        if self.certificate:
            certificate, key = self.certificate
            lines += ["tls_server_config:", f"  cert_file: {certificate}", f"  key_file: {key}"]
        if self.client_authority:
            lines += ["  client_auth_type: RequireAndVerifyClientCert", f"  client_ca_file: {self.client_authority}"]
        if self.users:
            lines += ["basic_auth_users:"] + [f"  {name}: {_hashed(password)}" for name, password in self.users.items()]
        return "\n".join(lines) + "\n"

    def _wait(self) -> None:
        """Wait until the port takes connections and, without TLS, until the server says it is ready."""
        until = time.monotonic() + self.deadline
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.05)
        log = (self.directory / "prometheus.log").read_text()
        self.stop()
        raise RuntimeError(f"Prometheus did not start:\n{log}")

    def _ready(self) -> bool:
        """Whether it answers; a refused password is an answer too."""
        try:
            if self.certificate:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as exc:
            return exc.code == 401
        except OSError:
            return False


def _openmetrics(metric: Metric) -> t.Iterator[str]:
    """The lines of one metric."""
    family = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    yield f"# TYPE {family} {metric.kind}\n"
    for labels, samples in metric.series:
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        for stamp, value in samples:
            if not math.isnan(value):
                yield f"{metric.name}{{{text}}} {value!r} {stamp}\n"


def _hashed(password: str) -> str:
    """A password as bcrypt hashes it, at the least cost."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), b"$2b$04$" + secrets.token_hex(11).encode()).decode()


def _program(name: str) -> str:
    """Where a program is."""
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed; on Debian: apt-get install prometheus")
    return path
