# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import libraries
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import MissingLibrary
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import agreement, forecast

FIVE_MINUTES = dict(step_seconds=300, horizon=36, quantiles=(0.1, 0.5, 0.9, 0.99))


def load(days: float = 10, rows: int = 3) -> np.ndarray:
    """Five-minute series with a day and noise."""
    rng = np.random.default_rng(1)
    slots = np.arange(round(288 * days))
    return 50 + 20 * np.sin(2 * np.pi * slots / 288) + rng.normal(0, 3, (rows, len(slots)))


@pytest.mark.parametrize("samples", [1, 2, 5, 12, 30, 288, 600])
def test_a_cold_start_has_an_answer_with_width(samples):
    answer = forecast(load()[:, :samples], **FIVE_MINUTES)
    assert np.isfinite(answer.quantiles).all()
    assert all(notes for notes in answer.warnings) or samples >= 288
    if samples >= 5:
        assert (answer.quantiles[:, :, 3] > answer.quantiles[:, :, 0]).all()


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [
        (lambda line: np.full_like(line, 7.0), "every sample is 7"),
        (lambda line: np.where(np.arange(len(line)) // 288 % 10 < 8, line, np.nan), "the newest sample is 2 d old"),
        (lambda line: np.where((np.arange(len(line)) // 288 > 0) & (np.arange(len(line)) // 288 < 8), np.nan, line), "there is a gap of 7 d"),
        (lambda line: np.cumsum(line) % 100000, "like a counter"),
        (lambda line: np.where(np.arange(len(line)) == 500, np.inf, line), "1 samples are infinite"),
        (lambda line: np.where(np.arange(len(line)) == 500, 1e18, line), "1 samples are a million times as far off"),
        (lambda line: np.where(np.arange(len(line)) == 500, 1e300, line), "1 samples are infinite"),
        (lambda line: -line, None),
        (lambda line: line * 1e40, None),
        (lambda line: line * 1e-40, None),
    ],
)  # fmt: skip
def test_one_bad_series_has_an_answer_and_leaves_the_others_alone(spoil, warning):
    values = load()
    good = forecast(values[1:], **FIVE_MINUTES)
    values[0] = spoil(values[0])
    answer = forecast(values, **FIVE_MINUTES)
    assert np.isfinite(answer.quantiles).all()
    assert (np.diff(answer.quantiles, axis=2) >= 0).all()
    told = "; ".join(answer.warnings[0])
    assert (warning in told) if warning else not told
    width = good.quantiles[:, :, 2] - good.quantiles[:, :, 0]
    assert (np.abs(answer.quantiles[1:, :, 1] - good.quantiles[:, :, 1]) < width).all()
    assert answer.warnings[1:] == good.warnings


def test_processor_load_above_a_hundred_is_not_clipped():
    values = np.clip(load(), 0, None) + 55
    assert forecast(values, **FIVE_MINUTES).quantiles[..., 3].max() > 100


def test_the_default_path_imports_nothing_heavy():
    script = (
        "import sys; sys.path[:0] = {path!r}; import numpy; "
        "from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast; "
        "forecast(numpy.random.default_rng(0).normal(size=(2, 900)), step_seconds=300, horizon=12); "
        "print(sorted({{'pandas', 'scipy', 'statsmodels', 'sklearn', 'torch'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script.format(path=sys.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_lstm_answers_or_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", _without("torch"))
    # What an earlier use has cached is put aside: names of the proxy's own begin with an underscore.
    for name in [name for name in vars(libraries.torch) if not name.startswith("_")]:
        monkeypatch.delitem(libraries.torch.__dict__, name)
    with pytest.raises(MissingLibrary, match=r"torch >= 2\.2 is needed for the model lstm.*pip install"):
        forecast(load(rows=1), model="lstm", **FIVE_MINUTES)


def _without(absent: str):
    """``import_module`` on a machine that lacks a library."""
    original = importlib.import_module

    def import_module(name: str, package: str | None = None):
        if name == absent:
            raise ImportError(name)
        return original(name, package)

    return import_module


def test_the_whole_and_its_parts_add_up():
    parts = load(rows=4)
    answer = agreement.agreeing(forecast(np.vstack([parts.sum(axis=0), parts]), **FIVE_MINUTES))
    np.testing.assert_allclose(answer.quantiles[0, :, 1], answer.quantiles[1:, :, 1].sum(axis=0), rtol=1e-9)
    assert (np.diff(answer.quantiles, axis=2) >= 0).all()


def test_parts_that_never_added_up_are_left_alone():
    parts = load(rows=4)
    plain = forecast(np.vstack([2 * parts.sum(axis=0), parts]), **FIVE_MINUTES)
    assert agreement.agreeing(plain) is plain
