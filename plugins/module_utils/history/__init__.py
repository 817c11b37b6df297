# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where series come from and are kept.

:func:`open` gives a history to read from and write to; ``sources`` fetches what a history does not hold yet.
"""

from __future__ import annotations

import functools
import typing as t

from ..errors import InvalidOption
from .base import History, Store
from .duckdb_store import DuckDBHistory
from .ledger import Lease, LeaseHeld, Record
from .postgresql import PostgreSQLHistory
from .prometheus import PrometheusHistory

if t.TYPE_CHECKING:
    Spec = t.Mapping[str, t.Any]

__all__ = ["History", "Lease", "LeaseHeld", "Record", "Store", "open", "open_beside", "open_state", "require_writable"]


def open(spec: Spec, *, tenant: str = "default", read_only: bool = True, option: str = "history") -> History:
    """The history that a specification describes.

    :param spec: Checked values of ``options.HISTORY``.
    :param tenant: Whose history; each tenant's is apart from the others'.
    :param read_only: Whether it is only read from. One that is written to is made where it is absent.
    :param option: Dotted path of the specification, for errors.
    :raises InvalidOption: when the specification lacks what its type needs.
    :raises NotFound: when it is only read from and is not there.
    """
    if spec["type"] == "duckdb":
        return DuckDBHistory(spec, tenant=tenant, read_only=read_only, option=option)
    if spec["type"] == "postgresql":
        return PostgreSQLHistory(spec, tenant=tenant, read_only=read_only, option=option)
    if not read_only:
        require_writable(spec, option)
    beside = functools.partial(DuckDBHistory, spec, tenant=tenant, read_only=True, option=option)
    return PrometheusHistory(spec, option, beside if spec.get("path") else None)


def open_beside(spec: Spec, *, tenant: str = "default", read_only: bool = False, option: str = "history") -> Store:
    """The store for what is kept beside samples: marks, leases and records. It is the history, if that can be written to.

    :raises InvalidOption: when it can't, and names no file for it.
    :raises NotFound: when it is only read from and is not there.
    """
    if spec["type"] != "prometheus":
        return t.cast(Store, open(spec, tenant=tenant, read_only=read_only, option=option))
    if not spec.get("path"):
        raise InvalidOption(
            "a history of type prometheus keeps no marks, leases and records",
            option=f"{option}.path",
            remedy="Name a DuckDB file for them; leases and records may be in another store, the variable lowtide_state",
        )
    return DuckDBHistory(spec, tenant=tenant, read_only=read_only, option=option)


def open_state(params: Spec, *, tenant: str = "default", read_only: bool = False) -> Store:
    """The store where runs keep their leases and records.

    :param params: Checked values of ``options.STATE`` and ``options.COMMON``: O(state), or else O(history).
    :param tenant: Whose; each tenant's is apart from the others'.
    :raises InvalidOption: when there is neither a O(state) nor a history that can be written to.
    :raises NotFound: when it is only read from and is not there.
    """
    if params.get("state"):
        return t.cast(Store, open(params["state"], tenant=tenant, read_only=read_only, option="state"))
    return open_beside(params["history"], tenant=tenant, read_only=read_only)


def require_writable(spec: Spec, option: str = "history") -> None:
    """Refuse a history that can't be written to.

    :raises InvalidOption: naming its type.
    """
    if spec["type"] == "prometheus":
        raise InvalidOption(
            "a history of type prometheus is only read from",
            option=f"{option}.type",
            remedy="Use type duckdb or postgresql to keep what is collected, or read from the server without collecting",
        )
