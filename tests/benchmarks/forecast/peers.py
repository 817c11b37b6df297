# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forecasters under one call: ``(values, horizon, day, levels) -> quantiles``, shape (series, horizon, levels)."""

from __future__ import annotations

import importlib
import statistics
import unittest.mock
import warnings

import numpy as np
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting import forecast, regression
from ansible_collections.lowtide.fleet.plugins.module_utils.forecasting.seasonal_naive import newest_known


def lowtide(model: str = "auto"):
    """One of ours."""

    def predict(values, horizon, day, levels):
        answer = forecast(values, step_seconds=86400 // day, horizon=horizon, quantiles=levels, model=model)
        return np.nan_to_num(answer.quantiles)

    return predict


def by_itself():
    """While it is entered, a series alone does not lean on what fleets have in common."""
    return unittest.mock.patch.object(regression, "COMMON", 0.0)


def seasonal_naive(values, horizon, day, levels):
    """The day before, with the normal intervals that statsforecast gives it."""
    filled = newest_known(np.where(np.isnan(values).all(axis=1, keepdims=True), 0.0, values))
    sigma = np.sqrt(np.nan_to_num(np.nanmean((values[:, day:] - values[:, :-day]) ** 2, axis=1)))
    ahead = np.arange(horizon)
    spread = sigma[:, None] * np.sqrt(ahead // day + 1)
    return filled[:, -day:][:, ahead % day][..., None] + spread[..., None] * np.array(
        [statistics.NormalDist().inv_cdf(level) for level in levels]
    )


def newest_season(values, horizon, day, levels):
    """The quantiles of the newest season's samples, at every step ahead."""
    return np.repeat(np.nanquantile(values[:, -day:], levels, axis=1).T[:, None], horizon, axis=1)


def ten_seconds(model: str):
    """One of ours, told that a step is 10 seconds."""

    def predict(values, horizon, _season, levels):
        return np.nan_to_num(
            forecast(values, step_seconds=10, horizon=horizon, quantiles=levels, model=model).quantiles
        )

    return predict


def statsforecast(name: str, *, days: tuple[int, ...] = (1,)):
    """MSTL, AutoETS or AutoARIMA of the library statsforecast, with its own intervals; MSTL with seasons of so many days."""

    def predict(values, horizon, day, levels):
        models = importlib.import_module("statsforecast.models")
        made = {
            "MSTL": lambda: models.MSTL(
                season_length=[day * many for many in days], trend_forecaster=models.AutoETS(model="ZZN")
            ),
            "AutoETS": lambda: models.AutoETS(season_length=day if day <= 24 else 1),
            "AutoARIMA": lambda: models.AutoARIMA(season_length=day if day <= 24 else 1),
        }[name]
        width = sorted({round(abs(200 * level - 100), 6) for level in levels} - {0})
        result = np.empty((len(values), horizon, len(levels)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for row, line in enumerate(newest_known(values)):
                answer = made().forecast(y=line, h=horizon, level=width)
                for index, level in enumerate(levels):
                    share = round(abs(200 * level - 100), 6)
                    side = "lo" if level < 0.5 else "hi"
                    keys = [key for key in answer if key.startswith(side) and float(key.split("-")[1]) == share]
                    result[row, :, index] = answer[keys[0]] if keys else answer["mean"]
        return result

    return predict


def lightgbm(values, horizon, day, levels):
    """A global quantile model over lags, levels of the newest hours, and time of day and week."""
    booster = importlib.import_module("lightgbm")
    filled = newest_known(values)
    centre = np.median(filled, axis=1, keepdims=True)
    scale = np.abs(filled - centre).mean(axis=1, keepdims=True)
    own = (filled - centre) / np.where(scale > 0, scale, 1)
    length, hour = own.shape[1], max(1, day // 24)
    moments = np.linspace(max(length - 18 * day, min(8 * day, length // 2)), length - 2, 24).round().astype(int)
    steps = np.unique(np.linspace(1, horizon, 24).round().astype(int))
    learn, target, known = _features(own, moments, steps, day, hour)
    known &= ~np.isnan(values[:, np.minimum(moments[:, None] + steps - 1, length - 1)]).ravel()
    now, _none, _known = _features(own, np.array([length]), np.arange(1, horizon + 1), day, hour)
    result = []
    for level in levels:
        options = dict(objective="quantile", alpha=level, verbose=-1, num_threads=1, seed=0, min_data_in_leaf=50)
        fitted = booster.train(options, booster.Dataset(learn[known], target[known]), num_boost_round=100)
        result.append(fitted.predict(now, num_threads=1).reshape(len(values), horizon))
    return np.sort(np.stack(result, axis=-1), axis=-1) * scale[..., None] + centre[..., None]


def _features(own, moments, steps, day, hour):
    """Rows for each series, moment and step: features, what came, whether it is known."""
    shape = (len(own), len(moments), len(steps))
    target = moments[:, None] + steps - 1
    back = [day * ((steps - 1) // day + number) for number in (1, 2, 3, 7)]
    columns = [np.maximum(target - lag, 0) for lag in back]
    newest = [own[:, np.maximum(moments[:, None] - 1 - np.arange(width), 0)] for width in (1, hour, 6 * hour, day)]
    level = [part.mean(axis=2) for part in newest] + [part.std(axis=2) for part in newest[1:]]
    parts = [own[:, column] for column in columns]
    parts += [np.broadcast_to(part[:, :, None], shape) for part in level]
    parts += [np.broadcast_to(part, shape) for part in (steps / day, target % day / day, target // day % 7)]
    known = np.broadcast_to(target < own.shape[1], shape).ravel().copy()
    came = own[:, np.minimum(target, own.shape[1] - 1)].ravel()
    return np.stack(parts, axis=-1).reshape(-1, len(parts)), came, known


PEERS = {
    "lowtide": lowtide(),
    "seasonal naive": seasonal_naive,
    "LightGBM": lightgbm,
    "MSTL": statsforecast("MSTL"),
    "AutoETS": statsforecast("AutoETS"),
    "AutoARIMA": statsforecast("AutoARIMA"),
}
SLOW = {"MSTL": 2, "AutoETS": 7, "AutoARIMA": 2}  # newest windows that each is scored on, of a sample of series
