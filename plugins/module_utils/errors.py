# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one family of errors that Lowtide raises on purpose."""

from __future__ import annotations


class LowtideError(Exception):
    """Something the user can put right.

    :param problem: What is wrong, as one sentence without a full stop at its end.
    :param option: The option it comes from, as a dotted path (V(pools.web.servers)), if there is one.
    :param remedy: What to do about it, as one sentence in the imperative.
    """

    def __init__(self, problem: str, *, option: str | None = None, remedy: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.option = option
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.option}: {self.problem}" if self.option else self.problem
        text = text.rstrip(".") + "."
        if self.remedy:
            text += f" {self.remedy.rstrip('.')}."
        return " ".join(text.split())


class InvalidOption(LowtideError):
    """A value that was given can't be used."""


class NotEnoughHistory(LowtideError):
    """The history holds too little of a series to answer from."""


class MissingLibrary(LowtideError):
    """A Python library is absent, or too old."""

    def __init__(self, library: str, *, found: str | None = None, reason: str | None = None) -> None:
        problem = f"the Python library {library} is needed"
        if reason:
            problem += f" {reason}"
        if found:
            problem += f", but only version {found} was found"
        super().__init__(problem, remedy=f"Install it for the Python that runs this task: pip install '{library}'")
        self.library = library
        self.found = found
        self.reason = reason


class ConnectionFailed(LowtideError):
    """A server could not be reached, or it ended the conversation."""


class AuthenticationFailed(LowtideError):
    """A server refused the credentials, or the rights that come with them."""


class CertificateRejected(ConnectionFailed):
    """A server's certificate is not trusted."""


class NotFound(LowtideError):
    """Something that was named does not exist where it was looked for."""


class Locked(LowtideError):
    """Another run holds what this one needs."""
