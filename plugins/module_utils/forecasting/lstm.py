# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recurrent network for the whole fleet, by PyTorch: an optional extra.

Hochreiter and Schmidhuber, *Long short-term memory*, Neural Computation 9 (1997), reading the newest samples, under a
head that gives all quantiles at once (Wen et al., *A multi-horizon quantile recurrent forecaster*, 2017).
"""

from __future__ import annotations

import typing as t

from ..libraries import numpy as np
from ..libraries import torch
from . import global_model
from .problem import Prediction, Problem

if t.TYPE_CHECKING:
    import numpy

HIDDEN = 32
ROUNDS = 6
BATCH = 256


def predict(problem: Problem) -> Prediction:
    """The quantiles that an LSTM learns from the newest samples and the candidates."""
    return global_model.predict(problem, _learn, "lstm")


def _learn(rows: global_model.Rows, target: numpy.ndarray, levels: tuple[float, ...], seed: int) -> global_model.Fitted:
    """Train with Adam on the quantiles' loss."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    reader = torch.nn.LSTM(1, HIDDEN, batch_first=True)
    head = torch.nn.Sequential(
        torch.nn.Linear(HIDDEN + rows.features.shape[1], 2 * HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(2 * HIDDEN, len(levels)),
    )
    level = torch.tensor(levels)
    optimizer = torch.optim.Adam([*reader.parameters(), *head.parameters()], lr=3e-3)
    features, sequence = _squashed(rows.features), _squashed(rows.sequence)
    wanted = torch.from_numpy(target.astype(np.float32))

    def run(some: t.Any, lines: t.Any) -> t.Any:
        state = reader(lines[:, :, None])[1][0][0]
        return head(torch.cat([state, some], dim=1))

    for _round in range(ROUNDS):
        for part in torch.randperm(len(wanted), generator=generator).split(BATCH):
            difference = wanted[part, None] - run(features[part], sequence[part])
            loss = torch.maximum(level * difference, (level - 1) * difference).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def fitted(ahead: global_model.Rows) -> numpy.ndarray:
        with torch.no_grad():
            parts = [
                run(_squashed(ahead.features[low : low + 4096]), _squashed(ahead.sequence[low : low + 4096])).numpy()
                for low in range(0, len(ahead.features), 4096)
            ]
        return np.concatenate(parts)

    return fitted


def _squashed(values: numpy.ndarray) -> t.Any:
    """A tensor whose far values are drawn in, so that one burst does not rule the gradient."""
    return torch.from_numpy(np.arcsinh(values).astype(np.float32))
