# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of a database with TimescaleDB, by its documented functions; plain PostgreSQL is tested for real."""

from __future__ import annotations

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.history import partitions


class Recorder:
    """Answers as a database with TimescaleDB in the schema given would, and notes what it was asked."""

    def __init__(self, schema=None, old=()):
        self.asked = []
        self.schema = schema
        self.old = list(old)

    def __call__(self, statement, values=()):
        self.asked.append((" ".join(statement.split()), list(values)))
        if "pg_extension" in statement:
            return [(self.schema,)] if self.schema else []
        if "relkind" in statement:
            return [("r",)] if self.schema else [("p",)]
        if "count(*)" in statement:
            return [(self.old.pop(0),)]
        return []

    def done(self):
        return [item for item in self.asked if not item[0].startswith("SELECT quote") and "relkind" not in item[0]]


def test_a_hypertable_is_made_where_the_extension_is():
    database = Recorder('"ts"')
    partitions.create(database)
    (table, _none), (hypertable, _values) = database.done()
    assert table.startswith("CREATE TABLE samples (") and "PARTITION" not in table
    assert hypertable == (
        "SELECT \"ts\".create_hypertable('samples', 'time', chunk_time_interval => 2592000::bigint, "
        "create_default_indexes => false)"
    )
    database = Recorder()
    partitions.create(database)
    ((table, _values),) = database.done()
    assert table.endswith("PARTITION BY RANGE (time)")


def test_timescale_makes_its_chunks_itself():
    database = Recorder("public")
    partitions.extend(database, 0, 3 * partitions.SECONDS)
    assert database.done() == []
    database = Recorder()
    partitions.extend(database, 0, partitions.SECONDS)
    assert [statement.split()[5] for statement, _values in database.done()] == ["samples_0", "samples_1"]


@pytest.mark.parametrize(("old", "gone"), [((0,), 0), ((500, 20), 480)])
def test_chunks_that_are_too_old_are_dropped_and_counted(old, gone):
    database = Recorder("public", old)
    assert partitions.drop(database, 12345) == gone
    drops = [item for item in database.done() if "drop_chunks" in item[0]]
    expected = ("SELECT public.drop_chunks('samples', older_than => ?::bigint)", [12345])
    assert drops == ([expected] if gone else [])
