# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP with errors that say what to do."""

from __future__ import annotations

import re
import socket
import ssl
import typing as t
import urllib.parse

from ..errors import AuthenticationFailed, CertificateRejected, ConnectionFailed, InvalidOption
from ..libraries import requests
from ..timing import duration, words
from .base import Closing

_AGAIN = (429, 502, 503, 504)
_CUT = re.compile(r"eof occurred|reset by peer|broken pipe|connection aborted|closed", re.IGNORECASE)
# The alerts by which a server ends a handshake over the client's certificate.
_REFUSED = re.compile(
    r"alert (certificate|bad certificate|unknown ca|unsupported certificate|handshake failure|access)"
)


class Client(Closing):
    """Sends requests to one server; what fails for a moment is tried again, credentials never."""

    def __init__(self, spec: t.Mapping[str, t.Any], option: str) -> None:
        """:param spec: Has C(url), C(username), C(password), C(token), C(validate_certs), C(ca_path) and C(timeout).

        :raises InvalidOption: without an address.
        """
        self.option = option
        self.url = (spec.get("url") or "").rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidOption(
                "an address that begins with http:// or https:// is wanted",
                option=f"{option}.url",
                remedy="Give the server's base address, without /api/v1",
            )
        self.timeout = duration(spec.get("timeout") or "30s", f"{option}.timeout")
        # Given with each request: an environment that sets REQUESTS_CA_BUNDLE would override the session's own.
        self._verify = (spec.get("ca_path") or True) if spec.get("validate_certs", True) else False
        self.session = requests.Session()
        # Only an answer is a reason to ask again: a server that is down or slow would take as long once more.
        again = requests.adapters.Retry(
            total=2, connect=0, read=False, other=0, status_forcelist=_AGAIN, allowed_methods=None, backoff_factor=0.4,
            raise_on_status=False, respect_retry_after_header=False,
        )  # fmt: skip
        self.session.mount(self.url, requests.adapters.HTTPAdapter(max_retries=again))
        if spec.get("client_cert"):
            self.session.cert = (spec["client_cert"], spec.get("client_key") or spec["client_cert"])
        if spec.get("token"):
            self.session.auth = _Bearer(spec["token"])
        elif spec.get("username"):
            self.session.auth = (spec["username"], spec.get("password") or "")

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def post(self, path: str, data: t.Mapping[str, t.Any]) -> t.Any:
        """The answer to a form, whatever its status below 500, save 401 and 403.

        :raises ConnectionFailed: when there is no whole answer. :raises AuthenticationFailed: on 401 and 403.
        """
        response = self._once(path, data)
        if response.status_code in (401, 403):
            raise AuthenticationFailed(
                f"{self.url} refused the credentials ({response.status_code})",
                option=f"{self.option}.{'token' if isinstance(self.session.auth, _Bearer) else 'username'}",
                remedy="Check username and password, or the token, and what they may read",
            )
        if response.status_code >= 500:
            raise ConnectionFailed(
                f"{self.url} answered {response.status_code} {response.reason}",
                option=f"{self.option}.url",
                remedy="Look at that server's log; nothing was lost here, and the next run fetches it",
            )
        return response

    def _once(self, path: str, data: t.Mapping[str, t.Any]) -> t.Any:
        """One request with its whole body."""
        try:
            return self.session.post(self.url + path, data=data, timeout=self.timeout, verify=self._verify)
        except requests.exceptions.SSLError as exc:
            reason = self._reason(exc)
            if _REFUSED.search(reason):
                raise self._refused(reason) from exc
            if _CUT.search(reason):
                raise self._unconnected() from exc
            expired = "expired" in reason
            raise CertificateRejected(
                f"the certificate of {self.url} {'has expired' if expired else 'is not trusted'}",
                option=f"{self.option}.url" if expired else f"{self.option}.ca_path",
                remedy="Renew it on the server" if expired else "Give the PEM file of the authority that signed it",
            ) from exc
        except requests.exceptions.Timeout as exc:
            raise ConnectionFailed(
                f"{self.url} did not answer within {words(self.timeout)}",
                option=f"{self.option}.timeout",
                remedy="Check that the server is up, or allow it more time",
            ) from exc
        except requests.exceptions.ConnectionError as exc:
            reason = self._reason(exc)
            raise (self._refused(reason) if _REFUSED.search(reason) else self._unconnected()) from exc
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as exc:
            raise self.broken() from exc
        except requests.exceptions.RequestException as exc:
            raise InvalidOption(
                f"{self.url} can't be asked: {exc}", option=f"{self.option}.url", remedy="Check the address"
            ) from exc
        except OSError as exc:
            raise self._unread(exc) from exc

    def _unconnected(self) -> ConnectionFailed:
        """The error for a server that takes no connection, or ends it."""
        return ConnectionFailed(
            f"there is no connection to {self.url}",
            option=f"{self.option}.url",
            remedy="Check the address, and that the server is up and reachable from here",
        )

    def _reason(self, exc: Exception) -> str:
        """Why a connection failed; where the server cut it off over TLS, the alert it sent.

        A server that refuses a client's certificate may close while the request is still being sent, and its alert is lost.
        One that is sent nothing can be heard.
        """
        reason = str(exc)
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme != "https" or not _CUT.search(reason) or self._verify is False:
            return reason
        try:
            context = ssl.create_default_context(cafile=self._verify if isinstance(self._verify, str) else None)
            if self.session.cert:
                context.load_cert_chain(*self.session.cert)
            place = parts.hostname, parts.port or 443
            with (
                socket.create_connection(place, min(self.timeout, 5)) as plain,
                context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
            ):
                secure.recv(1)
        except OSError as heard:
            return f"{reason} {str(heard).replace('_', ' ')}".lower()
        return reason

    def _refused(self, reason: str) -> AuthenticationFailed:
        """The error for a server that ends the handshake over the certificate shown to it, or not shown."""
        shown = self.session.cert is not None
        says = reason.rpartition("alert ")[2].partition(" (")[0]
        return AuthenticationFailed(
            f"{self.url} refused the client certificate ({says})"
            if shown
            else f"{self.url} wants a client certificate ({says})",
            option=f"{self.option}.client_cert",
            remedy="Give a certificate that has not expired and that an authority signed which the server trusts",
        )

    def _unread(self, exc: OSError) -> InvalidOption:
        """The error for a PEM file that is not there, or is none."""
        files = {
            "ca_path": self._verify,
            **dict(zip(("client_cert", "client_key"), self.session.cert or (), strict=False)),
        }
        name = next((name for name, path in files.items() if isinstance(path, str) and path in str(exc)), "client_cert")
        return InvalidOption(
            f"the file can't be used: {exc}",
            option=f"{self.option}.{name}",
            remedy="Name a PEM file that this user may read; certificate and key must belong together",
        )

    def broken(self) -> ConnectionFailed:
        """The error for an answer that ends early or is not what it says."""
        return ConnectionFailed(
            f"the answer of {self.url} is cut off or no answer of such a server",
            option=f"{self.option}.url",
            remedy="Check the address and what lies in between; nothing was lost here, and the next run fetches it",
        )


class _Bearer:
    """Puts a token on requests."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: t.Any) -> t.Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request
