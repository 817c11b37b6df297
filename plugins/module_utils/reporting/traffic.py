# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a load generator counted, second by second."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import typing as t

from ..errors import InvalidOption

_COLUMNS = ("time", "path", "sent", "failed", "p50_ms", "p95_ms")


@dataclasses.dataclass
class Stream:
    """The requests to one path, by second.

    :param times: Epoch seconds.
    :param sent: Requests sent in each second.
    :param failed: Those of them that failed.
    :param p50_ms: Median time to the answer in milliseconds; None where nothing was answered.
    :param p95_ms: The same for the 95th percentile.
    """

    times: list[float] = dataclasses.field(default_factory=list)
    sent: list[int] = dataclasses.field(default_factory=list)
    failed: list[int] = dataclasses.field(default_factory=list)
    p50_ms: list[float | None] = dataclasses.field(default_factory=list)
    p95_ms: list[float | None] = dataclasses.field(default_factory=list)


def read(paths: t.Sequence[str], option: str) -> dict[str, Stream]:
    """The streams in CSV files of tests/simulators/load_generator.py, by request path, in the order they first appear.

    Streams to the same path in several files are told apart by the names of the files.

    :raises InvalidOption: when a file is not there, or not such a file.
    """
    files = {path: _read(path, option) for path in paths}
    seen = [where for streams in files.values() for where in streams]
    return {
        where if seen.count(where) == 1 else f"{pathlib.Path(path).stem} {where}": stream
        for path, streams in files.items()
        for where, stream in streams.items()
    }


def _read(path: str, option: str) -> dict[str, Stream]:
    streams: dict[str, Stream] = {}
    try:
        with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                _append(streams.setdefault(row["path"], Stream()), row)
    except OSError as exc:
        raise InvalidOption(
            f"{path} can't be read: {exc.strerror}", option=option, remedy="Give a file that exists"
        ) from exc
    except (KeyError, ValueError, TypeError) as exc:
        raise InvalidOption(
            f"{path} is not a CSV file with the columns {', '.join(_COLUMNS)}",
            option=option,
            remedy="Give the file that the load generator wrote",
        ) from exc
    if not streams:
        raise InvalidOption(f"{path} holds no requests", option=option, remedy="Give the file of a load that ran")
    return streams


def _append(stream: Stream, row: dict[str, str]) -> None:
    stream.times.append(float(row["time"]))
    stream.sent.append(int(row["sent"]))
    stream.failed.append(int(row["failed"]))
    stream.p50_ms.append(float(row["p50_ms"]) if row["p50_ms"] else None)
    stream.p95_ms.append(float(row["p95_ms"]) if row["p95_ms"] else None)


def totals(streams: t.Iterable[Stream]) -> tuple[int, int]:
    """Requests sent, and those of them that failed."""
    counts = [(sum(stream.sent), sum(stream.failed)) for stream in streams]
    return sum(sent for sent, _failed in counts), sum(failed for _sent, failed in counts)
