# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simple methods that do well on curves of web services, to compare with. Not causal: they look at whole curves."""

from __future__ import annotations

import numpy as np

WINDOW = 100  # samples


def _windows(curve: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(curve, length)


def principal_components(curve: np.ndarray) -> np.ndarray:
    """Distance of each window to its mean along all principal components, each in its own standard deviation.

    Aggarwal (2017), 'Outlier Analysis', chapter 3. A sample's score is that of the window around it.
    """
    windows = _windows(curve, WINDOW)
    centred = windows - windows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    kept = values > 1e-10 * values.max()
    distance = ((centred @ vectors[:, kept]) ** 2 / values[kept]).sum(axis=1)
    return np.pad(distance, (WINDOW // 2 - 1, WINDOW - WINDOW // 2), mode="edge")


def spectral_residual(curve: np.ndarray) -> np.ndarray:
    """How much a sample stands out of what the average spectrum makes of the curve.

    Ren et al. (2019), 'Time-Series Anomaly Detection Service at Microsoft'.
    """
    spectrum = np.fft.fft(curve)
    logs = np.log(np.abs(spectrum) + 1e-12)
    average = np.convolve(np.pad(logs, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    saliency = np.abs(np.fft.ifft(np.exp(logs - average + 1j * np.angle(spectrum))))
    usual = np.convolve(np.pad(saliency, (21, 0), mode="edge"), np.ones(21) / 21, mode="valid")[:-1]
    return np.abs(saliency - usual) / np.maximum(usual, 1e-12)


def moving_window(curve: np.ndarray) -> np.ndarray:
    """Distance to the mean of the samples around, in their standard deviations."""
    around = _windows(np.pad(curve, (WINDOW // 2, WINDOW - WINDOW // 2 - 1), mode="edge"), WINDOW)
    return np.abs(curve - around.mean(axis=1)) / (around.std(axis=1) + 1e-9)


RIVALS = {
    "principal components": principal_components,
    "spectral residual": spectral_residual,
    "moving window": moving_window,
}


def scores(name: str, values: np.ndarray) -> np.ndarray:
    """A rival's scores of many curves, shape (series, time); gaps are bridged."""
    answer = []
    for curve in values:
        known = np.flatnonzero(~np.isnan(curve))
        answer.append(RIVALS[name](np.interp(np.arange(len(curve)), known, curve[known])))
    return np.array(answer)
