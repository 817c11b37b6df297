# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One contract for all histories: DuckDB, PostgreSQL over TLS, and Prometheus where it is only read from."""

from __future__ import annotations

import datetime
import pathlib
import sys

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption, NotEnoughHistory, NotFound
from ansible_collections.lowtide.fleet.plugins.module_utils.history.base import Batch, Mark
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from simulators.prometheus import Metric, Prometheus

STEP = 300
END = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
POOLS = {"web": ["web0", "web1"]}


def series(values, *, end=END, step=STEP, keys=None, metric="requests"):
    """Series of the pool web; a row each for its total and its servers unless keys are given."""
    values = np.asarray(values, dtype=float)
    names = keys or ((None, "web0", "web1") if len(values) == 3 else ("web0", "web1"))[: len(values)]
    return Series(tuple(SeriesKey("web", name, metric) for name in names), values, end, step)


@pytest.fixture(params=["duckdb", "postgresql"])
def spec(request, tmp_path):
    """A history that holds nothing yet."""
    values = {"path": str(tmp_path / "history.duckdb")}
    if request.param == "postgresql":
        values = request.getfixturevalue("postgresql")
    return options.checked(values, options.HISTORY, "history")


@pytest.fixture
def tenant(request, spec):
    """A tenant of its own for each test."""
    return f"t{abs(hash(request.node.name)):x}"[:20]


def read(spec, tenant, *, days=1.0, step=STEP, end=END, pools=None, metric="requests", **more):
    with history.open(spec, tenant=tenant) as kept:
        return kept.read(
            metric=metric,
            pools=POOLS if pools is None else pools,
            start=end - days * DAY,
            end=end,
            step_seconds=step,
            **more,
        )


def write(spec, tenant, values, **more):
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        return kept.write(values, **more)


DATA = np.random.default_rng(3).gamma(2, 50, (3, 288))
DATA[1, 17:20] = np.nan


def test_reads_what_was_written_with_gaps_as_nan(spec, tenant):
    assert write(spec, tenant, series(DATA)) == 3 * 288 - 3
    found = read(spec, tenant)
    assert found.keys == series(DATA).keys
    assert found.end == END
    np.testing.assert_array_equal(found.values, DATA)
    assert read(spec, tenant, pools=["web"]).keys == found.keys
    longer = read(spec, tenant, days=2)
    assert longer.values.shape == (3, 576)
    assert np.isnan(longer.values[:, :288]).all()
    np.testing.assert_array_equal(longer.values[:, 288:], DATA)


def test_end_is_aligned_down(spec, tenant):
    write(spec, tenant, series(DATA))
    found = read(spec, tenant, end=END - datetime.timedelta(seconds=1))
    assert found.end == END - datetime.timedelta(seconds=STEP)


def test_the_same_again_changes_nothing_and_a_correction_replaces(spec, tenant):
    write(spec, tenant, series(DATA))
    assert write(spec, tenant, series(DATA)) == 0
    changed = DATA.copy()
    changed[2, 5] += 1
    assert write(spec, tenant, series(changed), pretend=True) == 1
    np.testing.assert_array_equal(read(spec, tenant).values, DATA)
    assert write(spec, tenant, series(changed)) == 1
    np.testing.assert_array_equal(read(spec, tenant).values, changed)


def test_a_missing_sample_does_not_erase_one(spec, tenant):
    write(spec, tenant, series(DATA))
    assert write(spec, tenant, series(np.full((3, 288), np.nan))) == 0
    np.testing.assert_array_equal(read(spec, tenant).values, DATA)


def test_late_samples_find_their_place(spec, tenant):
    write(spec, tenant, series(DATA[:, 144:]))
    middle = END - 144 * datetime.timedelta(seconds=STEP)
    write(spec, tenant, series(DATA[:, :144], end=middle))
    np.testing.assert_array_equal(read(spec, tenant).values, DATA)


def test_old_and_new_samples_and_corrections_in_one_write(spec, tenant):
    """What fills a gap, what is corrected and what is newer than all there was are counted as one."""
    write(spec, tenant, series(DATA[:, :200], end=END - 88 * datetime.timedelta(seconds=STEP)))
    changed = np.where(np.isnan(DATA), 1.0, DATA)
    changed[2, 5] += 1
    added = 3 * 88 + 1 + 3
    assert write(spec, tenant, series(changed), pretend=True) == added
    assert write(spec, tenant, series(changed)) == added
    np.testing.assert_array_equal(read(spec, tenant).values, changed)
    other = series(changed[:1], keys=("web2",))
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        assert kept.put([Batch(series(changed + 1)), Batch(other)]) == [{"web": 3 * 288}, {"web": 288}]


@pytest.mark.parametrize(
    ("aggregation", "folded"), [("mean", np.nanmean), ("max", np.nanmax), ("last", lambda block, axis: block[:, :, -1])]
)
def test_coarser_steps(spec, tenant, aggregation, folded):
    data = np.where(np.isnan(DATA), 1.0, DATA)
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        kept.put([Batch(series(data), aggregation=aggregation)])
    found = read(spec, tenant, step=3600)
    assert found.step_seconds == 3600
    np.testing.assert_allclose(found.values, folded(data.reshape(3, 24, 12), axis=2))
    with pytest.raises(InvalidOption, match=r"step: .*steps of 300 s"):
        read(spec, tenant, step=60)


def test_newest_and_summaries(spec, tenant):
    write(spec, tenant, series(DATA[:, :280], end=END - 8 * datetime.timedelta(seconds=STEP)))
    write(spec, tenant, series(DATA[:1]))
    with history.open(spec, tenant=tenant) as kept:
        assert kept.newest(metric="requests", pools=POOLS) == {
            SeriesKey("web", None, "requests"): END - 8 * datetime.timedelta(seconds=STEP),
            SeriesKey("web", "web0", "requests"): END,
            SeriesKey("web", "web1", "requests"): END - 8 * datetime.timedelta(seconds=STEP),
        }
        summary = {item.key.server: item for item in kept.summaries(metric="requests", pools=POOLS)}
        assert kept.summaries(metric="cpu", pools=POOLS) == []
    assert (summary[None].samples, summary[None].missing, summary[None].gaps) == (280, 0, 0)
    assert (summary["web1"].samples, summary["web1"].missing, summary["web1"].gaps) == (280, 0, 0)
    assert summary["web0"].oldest == END - 287 * datetime.timedelta(seconds=STEP)


def test_summaries_count_gaps(spec, tenant):
    data = DATA.copy()
    data[0, [3, 4, 200]] = np.nan
    write(spec, tenant, series(data))
    with history.open(spec, tenant=tenant) as kept:
        items = kept.summaries(metric="requests", pools=["web"], start=END - DAY, end=END)
    assert [(item.missing, item.gaps) for item in items] == [(3, 2), (3, 1), (0, 0)]


def test_no_data_for_a_pool_is_one_line_with_a_remedy(spec, tenant):
    with pytest.raises(NotFound, match=r"history\.(path|url): there is no history .*lowtide\.fleet\.collect"):
        read(spec, tenant)
    write(spec, tenant, series(DATA))
    with pytest.raises(
        NotEnoughHistory, match=r"history\.(path|url): .*no sample of 'requests' for pool 'api'.*Collect"
    ) as caught:
        read(spec, tenant, pools={"web": ["web0"], "api": ["api0"]})
    assert "\n" not in str(caught.value)


def test_tenants_are_apart(spec, tenant):
    write(spec, tenant, series(DATA))
    other = f"{tenant[:-1]}x"
    assert write(spec, other, series(DATA + 1)) == 3 * 288 - 3
    np.testing.assert_array_equal(read(spec, tenant).values, DATA)
    with pytest.raises(InvalidOption, match=r"tenant: '\.\./x' can't be a tenant's name"):
        history.open(spec, tenant="../x")


def test_retention(spec, tenant):
    old = END - 100 * DAY
    write(spec, tenant, series(DATA))
    write(spec, tenant, series(DATA, end=old))
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        assert kept.prune(END) == 3 * 288 - 3
        assert kept.prune(END) == 0
    np.testing.assert_array_equal(read(spec, tenant).values, DATA)
    with pytest.raises(NotEnoughHistory):
        read(spec, tenant, end=old)
    with pytest.raises(InvalidOption, match=r"history.retention: 7d is too short"):
        history.open({**spec, "retention": "7d"}, read_only=False)


def test_coverage_grows(spec, tenant):
    covered = {("web", "web0"): (100, 200)}
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        kept.put([Batch(series(DATA), source="a", metric="requests", covered=covered)])
        kept.put([Batch(series(DATA), source="a", metric="requests", covered={("web", "web0"): (150, 300)})])
        kept.put([Batch(series(DATA), source="a", metric="requests", covered={("web", "web1"): (1, 2)})], pretend=True)
        assert kept.coverage("a", "requests", ["web"]) == {("web", "web0"): (100, 300)}
        assert kept.coverage("b", "requests", ["web"]) == {}


def test_marks_leave_samples_out(spec, tenant):
    write(spec, tenant, series(np.ones((3, 288))))
    step = datetime.timedelta(seconds=STEP)
    marks = [
        Mark("web", ("web0",), END - 10 * step, END - 8 * step, "update"),
        Mark("web", None, END - step, END, "move"),
        Mark("api", None, END - 5 * step, END, "boot"),
    ]
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        assert kept.mark(marks, pretend=True) == 3
        assert kept.mark(marks) == 3
        assert kept.mark(marks) == 0
        assert kept.marks(["web"]) == marks[:2]
        assert kept.marks(["web"], END - 2 * step, END) == marks[1:2]
    left = np.isnan(read(spec, tenant, leave_out_marked=True).values)
    assert np.flatnonzero(left[0]).tolist() == [287]
    assert np.flatnonzero(left[1]).tolist() == [278, 279, 287]
    assert np.flatnonzero(left[2]).tolist() == [287]
    assert not np.isnan(read(spec, tenant).values).any()


def test_a_newer_format_is_refused(spec, tenant):
    with history.open(spec, tenant=tenant, read_only=False) as kept:
        kept.write(series(DATA))
        kept._rows("UPDATE lowtide SET format = 99")
    for read_only in (True, False):
        with pytest.raises(
            InvalidOption, match=r"has format 99, and this version .* up to \d+\. Update the collection"
        ):
            history.open(spec, tenant=tenant, read_only=read_only)


def test_units_are_kept(spec, tenant):
    write(spec, tenant, series(DATA), units={"requests": "1/s"})
    with history.open(spec, tenant=tenant) as kept:
        assert {item.unit for item in kept.summaries(metric="requests", pools=POOLS)} == {"1/s"}
    assert read(spec, tenant).units == {"requests": "1/s"}
    write(spec, tenant, series(DATA))
    assert read(spec, tenant).units == {"requests": "1/s"}
    write(spec, tenant, series(DATA), units={"requests": "1/min"})
    assert read(spec, tenant).units == {"requests": "1/min"}


def test_prometheus_reads_by_the_same_contract(tmp_path):
    times = [int(END.timestamp()) - STEP * back for back in range(287, -1, -1)]
    rows = [({"instance": f"web{row}:80"}, zip(times, DATA[row + 1].tolist(), strict=True)) for row in range(2)]
    with Prometheus(tmp_path, [Metric("requests", rows)]) as server:
        spec = options.checked(
            {"type": "prometheus", "url": server.url, "queries": {"requests": "requests"}}, options.HISTORY, "history"
        )
        found = read(spec, "default")
        assert found.keys == series(DATA).keys[1:]
        np.testing.assert_array_equal(found.values, DATA[1:])
        np.testing.assert_allclose(
            read(spec, "default", step=3600).values, np.nanmean(DATA[1:].reshape(2, 24, 12), axis=2)
        )
        with history.open(spec) as kept:
            items = kept.summaries(metric="requests", pools=POOLS, start=END - DAY, end=END)
            assert [(item.samples, item.missing, item.gaps) for item in items] == [(285, 3, 1), (288, 0, 0)]
            assert kept.newest(metric="requests", pools=POOLS) == dict.fromkeys(found.keys, END)
            assert kept.marks(["web"]) == []
        beside = {**spec, "path": str(tmp_path / "beside.duckdb")}
        step = datetime.timedelta(seconds=STEP)
        assert not np.isnan(read(beside, "default", leave_out_marked=True).values[1]).any()
        with history.open_beside(beside) as kept:
            kept.mark([Mark("web", ("web1",), END - 3 * step, END - step, "update")])
        with history.open(beside) as kept:
            assert [mark.why for mark in kept.marks(["web"])] == ["update"]
        assert np.flatnonzero(np.isnan(read(beside, "default", leave_out_marked=True).values[1])).tolist() == [285, 286]
        assert not np.isnan(read(beside, "default").values[1]).any()
        with pytest.raises(NotEnoughHistory, match=r"history.queries.requests: .*pool 'api'"):
            read(spec, "default", pools={"api": ["api0"]})
        with pytest.raises(InvalidOption, match=r"history.type: .*only read from"):
            history.open(spec, read_only=False)
