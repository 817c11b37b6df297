# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the pictures of forecasting.md: ``python docs/forecast_pictures.py FOLDER``, at the build of the documents."""

from __future__ import annotations

import pathlib
import sys

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
from conftest import link_collection

sys.path.insert(0, str(link_collection()))
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast

DAY = 288


def load(days: int) -> np.ndarray:
    """A server's load: a working day, a nightly job, noise that grows with the load."""
    rng = np.random.default_rng(3)
    hour = np.arange(days * DAY) % DAY / 12
    day = 30 + 25 * np.exp(-(((hour - 14) / 4) ** 2)) + 35 * ((hour >= 2) & (hour < 2.5))
    return day * (1 + 0.12 * rng.standard_normal(days * DAY))


def main(folder: pathlib.Path) -> None:
    """Write ``forecast.svg``."""
    values = load(22)
    known, came = values[: -DAY // 2], values[-DAY // 2 :]
    answer = forecast(known[None, :], step_seconds=300, horizon=len(came), quantiles=(0.01, 0.1, 0.5, 0.9, 0.99))
    low, tenth, median, ninth, high = answer.quantiles[0].T
    figure, axes = plt.subplots(figsize=(9, 3.2))
    past = np.arange(-DAY, 0) / 12
    ahead = np.arange(len(came)) / 12
    axes.plot(past, known[-DAY:], color="0.3", linewidth=0.8, label="load")
    axes.plot(ahead, came, color="0.3", linewidth=0.8)
    axes.fill_between(ahead, low, high, color="tab:blue", alpha=0.15, label="1 % to 99 %", linewidth=0)
    axes.fill_between(ahead, tenth, ninth, color="tab:blue", alpha=0.3, label="10 % to 90 %", linewidth=0)
    axes.plot(ahead, median, color="tab:blue", label="median")
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set(xlabel="hours from now", ylabel="CPU, %", xlim=(past[0], ahead[-1]), ylim=(0, None))
    axes.legend(loc="upper left", ncols=4, frameon=False)
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "forecast.svg")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
