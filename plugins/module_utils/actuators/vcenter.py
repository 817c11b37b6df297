# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session with vCenter (or an ESXi host) that lasts: it logs in again when it must, and repeats what only reads."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import typing as t
import xml.parsers.expat

from ..errors import AuthenticationFailed, CertificateRejected, ConnectionFailed, InvalidOption, LowtideError
from ..libraries import pyvmomi

# How long one HTTP request may take. Waiting calls ask vCenter to answer well before.
HTTP_SECONDS = 20.0

# How long calls that change nothing are repeated while vCenter is away.
PATIENCE = 60.0
# Idle connections older than this are not used again: vCenter may have closed them.
_IDLE_SECONDS = 15
_REMEDY = "Check the address and port, and that vCenter answers there"

Result = t.TypeVar("Result")


class SessionEnded(LowtideError):
    """vCenter no longer knows the session; the call was not carried out."""


class Session:
    """One login, shared by threads.

    :param connection: The checked option of that name, as in V(options.VSPHERE).
    :param pool: How many connections are kept for use by threads.
    :raises InvalidOption: when something that is needed to log in is not given.
    """

    def __init__(self, connection: t.Mapping[str, t.Any], *, pool: int = 16) -> None:
        for name, variable in (("hostname", "HOST"), ("username", "USER"), ("password", "PASSWORD")):
            if not connection.get(name):
                raise InvalidOption(
                    "it is needed to speak to vSphere",
                    option=f"connection.{name}",
                    remedy=f"Give it, or set VMWARE_{variable} in the environment of the task",
                )
        self.connection = connection
        self.place = f"{connection['hostname']}:{connection['port']}"
        self.generation = 0  # counts logins
        self.content: t.Any = None
        self.stub = pyvmomi.SoapAdapter.SoapStubAdapter(
            host=connection["hostname"],
            port=connection["port"],
            sslContext=tls(connection),
            httpConnectionTimeout=HTTP_SECONDS,
            connectionPoolTimeout=_IDLE_SECONDS,
            poolSize=pool,
        )
        self._lock = threading.Lock()

    def open(self) -> None:
        """Log in.

        :raises ConnectionFailed: also as CertificateRejected. :raises AuthenticationFailed: on wrong credentials.
        """
        with self._lock:
            self._login()

    def renew(self, generation: int) -> None:
        """Log in again, unless another thread has done so since the session was of this generation."""
        with self._lock:
            if self.generation == generation:
                self._login()

    def close(self) -> None:
        """Log out. A session that can't be ended ends by itself after a while."""
        if self.generation:
            with contextlib.suppress(ConnectionFailed, SessionEnded), self.translated():
                self.content.sessionManager.Logout()
        self.stub.DropConnections()

    def write(self, function: t.Callable[[], Result]) -> Result:
        """One call that changes something. Repeated only after a login, when it is sure that nothing was done.

        :raises ConnectionFailed: when the answer was lost: it may have been carried out.
        """
        generation = self.generation
        try:
            with self.translated():
                return function()
        except SessionEnded:
            self.renew(generation)
        with self.translated():
            return function()

    def read(self, function: t.Callable[[], Result], patience: float | None = None) -> Result:
        """A call that changes nothing, repeated while vCenter is away, for as long as patience (seconds) lasts."""
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        pause = 0.25
        while True:
            generation = self.generation
            try:
                with self.translated():
                    return function()
            except CertificateRejected:
                raise
            except ConnectionFailed:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
            except SessionEnded:
                if time.monotonic() > deadline:
                    raise
                with contextlib.suppress(ConnectionFailed):
                    self.renew(generation)

    def _login(self) -> None:
        self.stub.cookie = ""
        instance = pyvmomi.vim.ServiceInstance("ServiceInstance", self.stub)
        with self.translated():
            self.content = instance.RetrieveContent()
            self.content.sessionManager.Login(self.connection["username"], self.connection["password"])
        self.generation += 1

    @contextlib.contextmanager
    def translated(self) -> t.Iterator[None]:
        """Turn what pyvmomi raises about connection and session into our errors; other faults pass."""
        try:
            yield
        except ssl.SSLCertVerificationError as exc:
            raise CertificateRejected(
                f"the certificate of {self.place} is not trusted: {exc.verify_message}",
                option="connection.ca_path",
                remedy="Give connection.ca_path the PEM file of the authority that signed it; connection.validate_certs: "
                "false trusts any server",
            ) from exc
        except ssl.SSLError as exc:
            raise ConnectionFailed(
                f"{self.place} does not speak TLS: {exc.reason or exc}", option="connection.port", remedy=_REMEDY
            ) from exc
        except socket.gaierror as exc:
            raise ConnectionFailed(
                f"the name {self.connection['hostname']} is not known", option="connection.hostname", remedy=_REMEDY
            ) from exc
        except TimeoutError as exc:
            raise ConnectionFailed(
                f"{self.place} did not answer in time", option="connection.hostname", remedy=_REMEDY
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise ConnectionFailed(
                f"{self.place} can't be reached: {exc}", option="connection.hostname", remedy=_REMEDY
            ) from exc
        except xml.parsers.expat.ExpatError as exc:
            raise ConnectionFailed(
                f"{self.place} does not speak the vSphere API: {exc}", option="connection.hostname", remedy=_REMEDY
            ) from exc
        except pyvmomi.vim.fault.InvalidLogin as exc:
            raise AuthenticationFailed(
                f"{self.place} refuses user {self.connection['username']!r} with this password",
                option="connection.password",
                remedy="Check connection.username and connection.password, and that the account is not locked",
            ) from exc
        except pyvmomi.vim.fault.NotAuthenticated as exc:
            raise SessionEnded(f"{self.place} has ended the session", option="connection.hostname") from exc


def tls(connection: t.Mapping[str, t.Any]) -> ssl.SSLContext:
    """How to verify the server, from the options V(validate_certs) and V(ca_path).

    :raises InvalidOption: when the authority's file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=connection["ca_path"] or None)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidOption(
            f"{connection['ca_path']} can't be used: {exc}",
            option="connection.ca_path",
            remedy="Name a PEM file that holds the authority's certificate",
        ) from exc
    if not connection["validate_certs"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
