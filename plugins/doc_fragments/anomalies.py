# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that the module and the lookup anomalies share; kept in step with SPEC in module_utils/operations/anomalies.py."""

    DOCUMENTATION = r"""
options:
  metrics:
    description:
      - The metrics to look at. The pool's C(load.metric) when empty.
      - The pool as a whole is looked at in its load alone, servers in every metric.
    type: list
    elements: str
    default: []
  step:
    description: The spacing of the samples it reads.
    type: str
    default: 5m
  history_window:
    description: How far to look back for what is usual. Weeks are better than days.
    type: str
    default: 30d
  since:
    description: Anomalies that are over are told if they ended within this time.
    type: str
    default: 24h
  detector:
    description:
      - V(auto) is the default and the best all round.
      - V(peers) finds the server that misbehaves while its pool is fine; V(multivariate) looks at all O(metrics) of a
        server together.
      - V(flat_line) finds values that stand still or are missing, V(level_shift) and V(variance_change) what they say.
      - V(novelty) is the distance to the nearest value ever seen, V(residual) the error of a short forecast, V(time_of_day)
        how far an hour is from the average of that time of day, V(excursion) how far a sample is from the level of the
        last hours once the usual day is taken out, V(spread) how restless the last hour is beside what is usual at that time
        of day.
      - V(matrix_profile) compares the last hour with every hour before; its time grows with the square of
        O(history_window).
      - V(isolation_forest) and V(one_class_svm) are those of scikit-learn. V(three_sigma) is there to compare with.
    type: str
    choices:
      - auto
      - excursion
      - flat_line
      - isolation_forest
      - level_shift
      - matrix_profile
      - multivariate
      - novelty
      - one_class_svm
      - peers
      - residual
      - spread
      - three_sigma
      - time_of_day
      - variance_change
    default: auto
  false_alarms:
    description: About how many false alarms per series and month to put up with, at most V(20); the one setting for all
      series.
    type: float
    default: 1.0
  per_server:
    description: Whether to look at each server too. V(peers) and V(multivariate) always do.
    type: bool
    default: true
  silent:
    description: Times that explain themselves. What happens in them is neither flagged nor learned.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is, for people.
        type: str
        required: true
      start:
        description: When it begins, ISO 8601; UTC unless it has an offset.
        type: str
        required: true
      end:
        description: When it ends, ISO 8601; UTC unless it has an offset.
        type: str
        required: true
      pools:
        description: The pools it concerns. All when empty.
        type: list
        elements: str
        default: []
  seed:
    description: Of everything random. The same question with the same seed and O(now) has the same answer.
    type: int
    default: 0
"""
