# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Third-party libraries, each imported when it is first used.

All of Lowtide imports third-party code from here and from nowhere else:

    from ansible_collections.lowtide.fleet.plugins.module_utils.libraries import numpy as np

A module is a short-lived process, so a library costs its import time only in the calls that use it; and a library
that is absent is an error of the one call that needs it, with a name and a remedy, not of the import of a file.
"""

from __future__ import annotations

import importlib
import os
import typing as t

from .errors import MissingLibrary


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``"1.26.4rc1"`` gives ``(1, 26, 4)``."""
    numbers = []
    for part in version.split("."):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


THREADS = "OPENBLAS_NUM_THREADS"


def _one_thread(name: str) -> t.Any:
    """Import a module whose OpenBLAS, which reads how many threads to start when it is loaded, is to start none.

    Matrices are small here, and threads that wait for them take a tenth of a second of CPU time to start, and more later.
    """
    if THREADS in os.environ or "OMP_NUM_THREADS" in os.environ:
        return importlib.import_module(name)
    os.environ[THREADS] = "1"
    try:
        return importlib.import_module(name)
    finally:
        del os.environ[THREADS]


class Library:
    """Stands for a Python module; the first attribute that is asked for imports it.

    :param module: The module to import, for example V(scipy.stats).
    :param distribution: The name to install it by.
    :param minimum: The oldest version that will do.
    :param reason: What it is needed for, to end the sentence 'X is needed ...'.
    :param extra: Whether execution environments leave it out: it is large, and most users never need it.
    :param single: Whether its linear algebra is to start no threads, unless the environment says how many.
    """

    def __init__(
        self,
        module: str,
        *,
        distribution: str,
        minimum: str,
        reason: str | None = None,
        extra: bool = False,
        single: bool = False,
    ) -> None:
        self.__dict__["_module"] = module
        self.__dict__["_distribution"] = distribution
        self.__dict__["_minimum"] = minimum
        self.__dict__["_reason"] = reason
        self.__dict__["_extra"] = extra
        self.__dict__["_single"] = single

    def __getattr__(self, name: str) -> t.Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self.load(), name)
        self.__dict__[name] = value
        return value

    def load(self) -> t.Any:
        """Import and return the module itself; raise :class:`MissingLibrary` where it is absent or too old."""
        wanted = f"{self._distribution} >= {self._minimum}"
        try:
            module = _one_thread(self._module) if self._single else importlib.import_module(self._module)
        except ImportError as exc:
            raise MissingLibrary(wanted, reason=self._reason) from exc
        root = importlib.import_module(self._module.partition(".")[0])
        found = getattr(root, "__version__", None)
        if found is not None and _numbers(str(found)) < _numbers(self._minimum):
            raise MissingLibrary(wanted, found=str(found), reason=self._reason)
        return module


numpy = Library("numpy", distribution="numpy", minimum="1.26", single=True)
duckdb = Library("duckdb", distribution="duckdb", minimum="1.1", reason="for the embedded history")
psycopg = Library("psycopg", distribution="psycopg[binary]", minimum="3.1", reason="for a history in PostgreSQL")
requests = Library("requests", distribution="requests", minimum="2.28", reason="to speak HTTP")
holidays = Library("holidays", distribution="holidays", minimum="0.40", reason="to know a country's holidays")
icalendar = Library("icalendar", distribution="icalendar", minimum="6.0", reason="to read ICS files")
recurring_ical_events = Library(
    "recurring_ical_events", distribution="recurring-ical-events", minimum="3.0", reason="to read ICS files"
)
arima_model = Library(
    "statsmodels.tsa.arima.model", distribution="statsmodels", minimum="0.14", reason="for the model arima"
)
smoothing = Library("statsmodels.tsa.api", distribution="statsmodels", minimum="0.14", reason="for the model ets")
stl = Library("statsmodels.tsa.seasonal", distribution="statsmodels", minimum="0.14", reason="for the model ets")
torch = Library("torch", distribution="torch", minimum="2.2", reason="for the model lstm", extra=True)
pyvmomi = Library("pyVmomi", distribution="pyvmomi", minimum="8.0", reason="to speak to vSphere")
jinja2 = Library("jinja2", distribution="jinja2", minimum="3.1", reason="for the report")
matplotlib = Library("matplotlib", distribution="matplotlib", minimum="3.8", reason="for the report")
mpl_dates = Library("matplotlib.dates", distribution="matplotlib", minimum="3.8", reason="for the report")
mpl_figure = Library("matplotlib.figure", distribution="matplotlib", minimum="3.8", reason="for the report")
mpl_ticker = Library("matplotlib.ticker", distribution="matplotlib", minimum="3.8", reason="for the report")
sklearn_ensemble = Library(
    "sklearn.ensemble",
    distribution="scikit-learn",
    minimum="1.4",
    reason="for the model gbm and the detector isolation_forest",
)
sklearn_svm = Library(
    "sklearn.svm", distribution="scikit-learn", minimum="1.4", reason="for the detector one_class_svm"
)
