# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How PostgreSQL's samples are split by time: by partitions of our own, or by TimescaleDB's chunks where a database has it.

Either way what is too old as a whole goes by dropping a table.
"""

from __future__ import annotations

import typing as t

SECONDS = 30 * 86400

Rows = t.Callable[..., t.List[t.Any]]

_SAMPLES = """
CREATE TABLE samples (
    series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL, PRIMARY KEY (series, time)
)"""


def timescale(rows: Rows) -> str | None:
    """The quoted schema of TimescaleDB's functions, or None where the database does not have the extension.

    :param rows: Runs a statement and returns its rows.
    """
    found = rows(
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
        "WHERE extname = 'timescaledb'"
    )
    return found[0][0] if found else None


def create(rows: Rows) -> None:
    """Make the table of samples."""
    functions = timescale(rows)
    if functions is None:
        rows(f"{_SAMPLES} PARTITION BY RANGE (time)")
        return
    rows(_SAMPLES)
    # Its own index by time alone would cost as much as the samples: they are asked for by series.
    rows(
        f"SELECT {functions}.create_hypertable('samples', 'time', chunk_time_interval => {SECONDS}::bigint, "
        "create_default_indexes => false)"
    )


def ours(rows: Rows) -> bool:
    """Whether samples are partitioned by us; a hypertable is an ordinary table to PostgreSQL."""
    return rows("SELECT relkind::text FROM pg_class WHERE oid = 'samples'::regclass")[0][0] == "p"


def extend(rows: Rows, first: int, last: int) -> None:
    """Make the partitions that stamps from first to last fall into; TimescaleDB makes its chunks itself."""
    if not ours(rows):
        return
    for number in range(first // SECONDS, last // SECONDS + 1):
        begin = number * SECONDS
        rows(
            f"CREATE TABLE IF NOT EXISTS samples_{number} PARTITION OF samples "
            f"FOR VALUES FROM ({begin}) TO ({begin + SECONDS})"
        )


def drop(rows: Rows, oldest: int) -> int:
    """Drop partitions or chunks that hold nothing newer, and return how many samples that were.

    :param oldest: Epoch second of the oldest sample to keep.
    """
    if ours(rows):
        too_old = [
            name
            for (name,) in rows(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass"
            )
            if (int(name.rpartition("_")[2].strip('"')) + 1) * SECONDS <= oldest
        ]
        gone = 0
        for name in too_old:
            gone += rows(f"SELECT count(*) FROM {name}")[0][0]
            rows(f"DROP TABLE {name}")
        return gone
    ((before,),) = rows("SELECT count(*) FROM samples WHERE time < ?", [oldest])
    if before:
        rows(f"SELECT {timescale(rows)}.drop_chunks('samples', older_than => ?::bigint)", [oldest])
        ((left,),) = rows("SELECT count(*) FROM samples WHERE time < ?", [oldest])
        return before - left
    return 0
