# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real PostgreSQL on loopback, over TLS, run as a user without rights."""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ports import free_port

_PROGRAMS = "/usr/lib/postgresql"


class PostgreSQL:
    """Starts Debian's PostgreSQL on a free port of loopback and waits until it answers.

    PostgreSQL refuses to run as root; it then runs as C(nobody), who must be able to enter the directory.

    :param directory: Where its data and log lie. :param certificate: PEM files of its certificate and key.
    :param settings: Further lines of postgresql.conf.
    """

    user = "lowtide"

    def __init__(
        self,
        directory: str | pathlib.Path,
        *,
        certificate: tuple[str, str],
        password: str = "history",
        settings: str = "",
        deadline: float = 30.0,
    ) -> None:
        self.directory = pathlib.Path(directory)
        self.certificate = certificate
        self.password = password
        self.settings = settings
        self.deadline = deadline
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql://localhost:{self.port}/postgres"

    def start(self) -> PostgreSQL:
        """Make the cluster, start the server, wait until it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._give_away(self.directory)
        data = self.directory / "data"
        if not data.exists():
            self._make(data)
        self.port = free_port()
        with (self.directory / "postgresql.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", str(data), "-p", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user(),
            )
        self._wait()
        return self

    def _make(self, data: pathlib.Path) -> None:
        """A new cluster with a password for its one user."""
        secret = self.directory / "password"
        secret.write_text(self.password)
        self._give_away(secret)
        subprocess.run(
            [
                _program("initdb"), "-D", str(data), "-U", self.user, "--auth=scram-sha-256", f"--pwfile={secret}",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            ],
            check=True, capture_output=True, **self._as_user(),
        )  # fmt: skip
        secret.unlink()
        for source, name in zip(self.certificate, ("server.crt", "server.key"), strict=True):
            shutil.copy(source, data / name)
            (data / name).chmod(0o600)
            self._give_away(data / name)
        lines = [
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            "ssl = on",
            "fsync = off",
            self.settings,
        ]
        with (data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def _wait(self) -> None:
        """Wait until the port takes connections."""
        until = time.monotonic() + self.deadline
        command = [_program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            if subprocess.run(command, check=False).returncode == 0:
                return
            time.sleep(0.05)
        log = (self.directory / "postgresql.log").read_text()
        self.stop()
        raise RuntimeError(f"PostgreSQL did not start:\n{log}")

    def stop(self) -> None:
        """End the server; its clients are cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> PostgreSQL:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _as_user(self) -> dict[str, object]:
        """Who a program runs as."""
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}

    def _give_away(self, path: pathlib.Path) -> None:
        """Let that user own a file."""
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _program(name: str) -> str:
    """Where a program of PostgreSQL is."""
    for path in sorted(pathlib.Path(_PROGRAMS).glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    raise RuntimeError(f"{name} is not installed; on Debian: apt-get install postgresql-15")
