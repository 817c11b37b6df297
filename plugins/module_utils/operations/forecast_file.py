# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole forecasts as a Parquet file, for what is too large for a module's result."""

from __future__ import annotations

import os
import pathlib
import tempfile
import typing as t

from .. import timing
from ..errors import InvalidOption
from ..libraries import duckdb
from ..libraries import numpy as np


def write(items: list[dict[str, t.Any]], path: str, *, check_mode: bool) -> bool:
    """Write a row for each forecast, step and quantile: pool, server, metric, step_seconds, time, quantile, value.

    :param items: Forecasts as the module returns them. :param path: The file; its folder must exist.
    :returns: whether the file was not there, or held something else. In check mode it is left as it is.
    :raises InvalidOption: when it can't be written.
    """
    target = pathlib.Path(path)
    rows = [
        (item["pool"], item["server"] or "", item["metric"], float(level), _times(part, len(values)), values, seconds)
        for item in items
        for part in [item, *item.get("coarser", [])]
        for seconds in [part["step_seconds"]]
        for level, values in part["quantiles"].items()
    ]
    table = {
        "pool": np.repeat([row[0] for row in rows], [len(row[5]) for row in rows]),
        "server": np.repeat([row[1] for row in rows], [len(row[5]) for row in rows]),
        "metric": np.repeat([row[2] for row in rows], [len(row[5]) for row in rows]),
        "step_seconds": np.repeat([row[6] for row in rows], [len(row[5]) for row in rows]),
        "quantile": np.repeat([row[3] for row in rows], [len(row[5]) for row in rows]),
        "time": np.concatenate([row[4] for row in rows]),
        "value": np.concatenate([row[5] for row in rows]),
    }
    query = "select pool, nullif(server, '') as server, metric, step_seconds, time, quantile, value from forecasts"
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder, duckdb.connect() as connection:
            made = pathlib.Path(folder) / "forecasts.parquet"
            connection.register("forecasts", table)
            connection.sql(query).write_parquet(str(made))
            changed = not target.is_file() or target.read_bytes() != made.read_bytes()
            if changed and not check_mode:
                os.replace(made, target)
    except OSError as exc:
        raise InvalidOption(
            f"{path} can't be written ({exc.strerror})", option="output", remedy="Name a file in a folder that exists"
        ) from exc
    return changed


def _times(item: dict[str, t.Any], count: int) -> t.Any:
    """Stamps of the steps ahead, UTC, shape (count,)."""
    first = np.datetime64(timing.moment(item["start"]).replace(tzinfo=None), "s")
    return first + np.arange(count) * np.timedelta64(item["step_seconds"], "s")
