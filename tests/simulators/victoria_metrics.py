# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real VictoriaMetrics on loopback."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import time
import typing as t
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ports import free_port


class VictoriaMetrics:
    """Starts Debian's VictoriaMetrics on a free port of loopback and waits until it takes connections.

    :param certificate: PEM files of its certificate and key. :param user: Of HTTP basic authentication.
    """

    def __init__(
        self,
        directory: str | pathlib.Path,
        *,
        certificate: tuple[str, str],
        user: str,
        password: str,
        deadline: float = 30.0,
    ) -> None:
        self.directory = pathlib.Path(directory)
        self.certificate = certificate
        self.user = user
        self.password = password
        self.deadline = deadline
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its base address."""
        return f"https://localhost:{self.port}"

    def start(self) -> VictoriaMetrics:
        """Start it."""
        program = shutil.which("victoria-metrics")
        if program is None:
            raise RuntimeError("victoria-metrics is not installed; on Debian: apt-get install victoria-metrics")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        with (self.directory / "victoria-metrics.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"-storageDataPath={self.directory / 'data'}",
                    f"-httpListenAddr=127.0.0.1:{self.port}",
                    "-retentionPeriod=10y",
                    "-search.latencyOffset=0s",
                    "-tls",
                    f"-tlsCertFile={self.certificate[0]}",
                    f"-tlsKeyFile={self.certificate[1]}",
                    f"-httpAuth.username={self.user}",
                    f"-httpAuth.password={self.password}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + self.deadline
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        text = (self.directory / "victoria-metrics.log").read_text()
        self.stop()
        raise RuntimeError(f"VictoriaMetrics did not start:\n{text}")

    def load(
        self,
        series: t.Iterable[tuple[dict[str, str], t.Sequence[int], t.Sequence[float]]],
        *,
        ca_path: str | pathlib.Path,
    ) -> None:
        """Import series: labels (with C(__name__)), epoch seconds and values."""
        lines = [
            json.dumps({"metric": labels, "timestamps": [stamp * 1000 for stamp in times], "values": list(values)})
            for labels, times, values in series
        ]
        context = ssl.create_default_context(cafile=str(ca_path))
        secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        for path, data in (("/api/v1/import", "\n".join(lines).encode()), ("/internal/force_flush", None)):
            request = urllib.request.Request(self.url + path, data=data, headers={"Authorization": f"Basic {secret}"})
            urllib.request.urlopen(request, context=context, timeout=30).close()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> VictoriaMetrics:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
