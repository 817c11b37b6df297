# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs a playbook: a process of a user on a host. Whether one that held something still lives, and what it left behind.

Each task of a playbook runs in a process with a session of its own. It outlives a playbook that is killed, until its task
ends; so whoever takes over waits for it.
"""

from __future__ import annotations

import datetime
import getpass
import hashlib
import os
import pathlib
import re
import socket
import typing as t

_PROC = pathlib.Path("/proc")

# The process namespace of a host that is no container has this inode on every Linux.
_HOST_NAMESPACE = "4026531836"

_HOLDER = re.compile(r"(?P<place>.+), process (?P<pid>\d+)(?P<space> in container \d+)?")

# A clock may differ from the kernel's by so many seconds.
_SLACK = 2.0


class Process(t.NamedTuple):
    """A process as the kernel tells it: its state letter, and when it started, in seconds since the epoch."""

    state: str
    started: float


def user() -> str:
    """Name of the user of this process; in a container it may be a number that no file gives a name to."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def holder(pid: int) -> str:
    """Who holds what the playbook of a process takes, for people to read and for :func:`gone` to judge."""
    return f"{user()}@{socket.gethostname()}, process {pid}{_space()}"


def command(pid: int) -> str:
    """A digest of the command line of a process, which all its tasks share; empty where the system does not tell.

    It is a digest because command lines hold secrets.
    """
    try:
        line = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(line).hexdigest() if line else ""


def gone(text: str, since: datetime.datetime) -> bool:
    """Whether a holder is a process of this user on this host that has ended.

    :param text: What :func:`holder` said. :param since: When it took what it holds: a process of the same number that
        started later is another one.
    """
    match = _HOLDER.fullmatch(text)
    own = f"{user()}@{socket.gethostname()}"
    if match is None or match["place"] != own or (match["space"] or "") != _space() or not _PROC.is_dir():
        return False
    process = look(int(match["pid"]))
    return process is None or process.state in "ZX" or process.started > since.timestamp() + _SLACK


def look(pid: int) -> Process | None:
    """A process, or None where there is none of that number."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return Process(fields[0], _boot() + int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def left_behind(digest: str, before: int) -> list[int]:
    """Processes of a command line that started before another process did: tasks of a playbook that was killed.

    :param digest: What :func:`command` said of it. :param before: The process that asks; its own are left out.
    """
    own = look(before)
    if not digest or own is None:
        return []
    found = []
    for path in _PROC.glob("[0-9]*"):
        pid = int(path.name)
        process = look(pid) if pid != before and command(pid) == digest else None
        if process is not None and process.state not in "ZX" and process.started < own.started:
            found.append(pid)
    return sorted(found)


def _space() -> str:
    """The container of this process, where it is in one: process numbers mean something only in there."""
    try:
        number = os.readlink("/proc/self/ns/pid").rpartition("[")[2].rstrip("]")
    except OSError:
        return ""
    return "" if number == _HOST_NAMESPACE else f" in container {number}"


def _boot() -> float:
    """When this host started, in seconds since the epoch."""
    lines = (_PROC / "stat").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))
