# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report: whole in itself, complete, the same for the same inputs."""

from __future__ import annotations

import copy
import csv
import datetime
import html.parser
import math
import pathlib
import re
import typing as t
import zoneinfo

import numpy as np
import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import history, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import report
from ansible_collections.lowtide.fleet.plugins.module_utils.planning import scaling, updates
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.distribution import DemandForecast
from ansible_collections.lowtide.fleet.plugins.module_utils.reporting import charts, policies, traffic
from ansible_collections.lowtide.fleet.plugins.module_utils.reporting import page as page_module
from ansible_collections.lowtide.fleet.plugins.module_utils.series import Series, SeriesKey

NOW = datetime.datetime(2026, 3, 3, 6, 0, tzinfo=datetime.UTC)
STEP = 300
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)


def day(hours: t.Any, base: float, swing: float) -> t.Any:
    """A day's demand: low at 3 h, high at 15 h."""
    return base + swing * np.cos((np.asarray(hours) - 15) * math.tau / 24) + swing / 5 * np.cos(hours * math.tau / 6)


def item(pool: str, base: float, swing: float) -> dict[str, t.Any]:
    """A forecast of the next day."""
    hours = 6 + np.arange(288) * STEP / 3600
    spread = 1 + 0.02 * np.sqrt(np.arange(288) / 12)
    quantiles = {
        str(level): [float(v) for v in day(hours, base, swing) * spread ** (4 * (level - 0.5) + 3 * (level > 0.98))]
        for level in LEVELS
    }
    scores = {"mase": 0.8, "wql": 0.05, "wape": 0.06, "seasonal_naive_mase": 1.0, "seasonal_naive_wql": 0.08}
    return {
        "pool": pool,
        "server": None,
        "metric": "requests",
        "step_seconds": STEP,
        "start": timing.iso(NOW + datetime.timedelta(seconds=STEP)),
        "quantiles": quantiles,
        "model": "seasonal_naive",
        "samples": 8640,
        "missing": 3,
        "backtest": {**scores, "seasonal_naive_wape": 0.11, "coverage": {"0.9": 0.91}, "windows": 14, "days": 14.0},
        "warnings": [],
        "words": f"requests of {pool}: {base:.0f}/s now",
    }


POOLS = {
    "web": {
        "servers": [f"web{number}" for number in range(1, 7)],
        "load": {"metric": "requests", "unit": "requests/s", "server_capacity": 150},
        "standby": {"servers": ["web-s1", "web-s2", "web-s3"], "lead_time": "4m"},
        "calendar": {"time_zone": "Europe/Berlin"},
        "update": {"duration": "10m", "first": ["web3"]},
    },
    "api": {
        "servers": ["api1", "api2"],
        "load": {"metric": "requests", "unit": "requests/s", "server_capacity": 220},
        "standby": {"servers": ["api-s1"], "lead_time": "4m"},
        "calendar": {"time_zone": "Europe/Berlin"},
    },
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, t.Any]:
    """What a run of the main job hands to the report."""
    items = [item("web", 420, 240), item("api", 160, 60)]
    pools = options.pools(POOLS)
    forecasts = {one["pool"]: DemandForecast.from_item(one) for one in items}
    plan = scaling.plan(pools, forecasts, now=NOW, demand_now={"web": 700.0, "api": 300.0})
    spare = {"web": ["web-s1", "web-s2", "web-s3"], "api": ["api-s1"]}
    update = updates.plan(
        pools, forecasts, now=NOW, deadline=NOW + datetime.timedelta(hours=24), spare_standbys=spare, server_loads={}
    )
    return {
        "pools": POOLS,
        "forecasts": items,
        "plan": plan,
        "update_plan": update,
        "traffic": [str(traffic_file(tmp_path_factory.mktemp("traffic") / "load.csv"))],
        "marks": [
            {"time": "2026-03-03T06:00:20Z", "end": "2026-03-03T06:00:28Z", "label": "web-s1 boots"},
            {"time": "2026-03-03T06:00:45Z", "end": "2026-03-03T06:01:05Z", "label": "batch 1: web3"},
        ],
        "anomalies": [{"pool": "web", "server": "web2", "metric": "cpu", "since": timing.iso(NOW), "score": 0.97}],
        "backtest": {"policies": {"predictive": {"under_supply": 0.01}, "reactive": {"under_supply": 0.04}}},
        "words": [*plan["words"], *update["words"]],
    }


@pytest.fixture(scope="module")
def rendered(inputs, tmp_path_factory) -> tuple[dict[str, t.Any], pathlib.Path]:
    """The report of all of it, which takes seconds to draw: its result and its file."""
    before = copy.deepcopy(inputs)
    done = run(tmp_path_factory.mktemp("report"), **inputs)
    assert inputs == before
    return done


def traffic_file(path: pathlib.Path, *, failed: int = 0) -> pathlib.Path:
    """Two minutes of a load generator's CSV."""
    noise = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "path", "sent", "failed", "p50_ms", "p95_ms"])
        for second in range(120):
            for where, rate in (("/web", 70), ("/api", 30)):
                sent = int(noise.poisson(rate + rate / 3 * math.sin(second / 20)))
                p50 = round(12 + noise.gamma(2, 0.5), 2)
                row = [failed if second == 60 else 0, p50, round(p50 + noise.gamma(3, 3), 2)]
                writer.writerow([NOW.timestamp() + second, where, sent, *row])
    return path


def run(tmp_path: pathlib.Path, *, check_mode: bool = False, **given: t.Any) -> tuple[dict[str, t.Any], pathlib.Path]:
    """Run the operation as the module does."""
    dest = tmp_path / "report.html"
    params = options.checked({"dest": str(dest), **given}, report.SPEC, "report")
    return report.report(params, check_mode=check_mode), dest


class Page(html.parser.HTMLParser):
    """What of a page matters here: balanced tags, ids, links, headings and text."""

    VOID: t.ClassVar = {"meta", "path", "use", "rect", "line", "circle", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def _note(self, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("src", "href", "xlink:href", "srcset", "data") if name in given]

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        self.text += data


def test_it_is_whole_in_itself(rendered):
    result, dest = rendered
    text = dest.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"https?:|//\w|@import|<script|<link", text)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert result["size"] == dest.stat().st_size < 1_000_000


def test_it_shows_all_it_is_given(inputs, rendered):
    page = Page(rendered[1].read_text(encoding="utf-8"))
    assert page.headings == [
        "In words",
        "Traffic",
        "Forecasts",
        "Scaling plan",
        "Update plan",
        "Anomalies",
        "Backtest",
    ]
    for text in (
        "Demand of web",
        "demand (requests/s)",
        "servers needed",
        "batch 1: web3",
        "none failed",
        "under supply",
    ):
        assert text in page.text
    assert all(page_module.local(sentence, BERLIN) in page.text for sentence in inputs["words"])
    assert "2026-03-0" not in page.text
    assert "As of Tue 03 Mar 2026 07:00 (Europe/Berlin)" in page.text
    assert "time (Europe/Berlin)" in page.text


@pytest.mark.parametrize(
    ("kept", "heading"),
    [("forecasts", "Forecasts"), ("plan", "Scaling plan"), ("update_plan", "Update plan"), ("traffic", "Traffic")],
)
def test_each_part_stands_alone(inputs, tmp_path, kept, heading):
    page = Page(run(tmp_path, **{kept: inputs[kept]})[1].read_text(encoding="utf-8"))
    assert page.headings == [heading]
    assert "(UTC)" in page.text


def test_both_themes_have_every_colour(rendered):
    text = rendered[1].read_text(encoding="utf-8")
    light, dark = (set(re.findall(r"--(\w+):", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL))
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= light == dark
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert not re.search(r"#[0-9a-f]{6}", picture)


def test_the_same_inputs_change_nothing(inputs, rendered):
    first, dest = rendered
    before = dest.stat().st_mtime_ns
    second, _dest = run(dest.parent, **inputs)
    assert (first["changed"], second["changed"]) == (True, False)
    assert dest.stat().st_mtime_ns == before
    assert list(dest.parent.iterdir()) == [dest]


def test_a_pool_whose_history_ended_long_ago_hinders_no_other(tmp_path):
    spec = {"type": "duckdb", "path": str(tmp_path / "history.duckdb")}
    with history.open(spec, read_only=False) as store:
        for name, end in (("web", NOW - datetime.timedelta(days=3)), ("api", NOW)):
            store.write(Series((SeriesKey(name, None, "requests"),), np.full((1, 288), 100.0), end, STEP))
    result, dest = run(tmp_path, pools=POOLS, history=spec, forecasts=[item("web", 420, 240), item("api", 160, 60)])
    assert dest.exists()
    (warning,) = result["warnings"]
    assert "Of pool 'web' no demand so far is drawn" in warning
    assert "holds no sample of 'requests' for pool 'web'" in warning


def test_check_mode_writes_nothing(tmp_path):
    result, dest = run(tmp_path, check_mode=True, words=["nothing is wrong"])
    assert result["changed"]
    assert not dest.exists()


def test_failures_are_counted_and_drawn(tmp_path):
    path = traffic_file(tmp_path / "load.csv", failed=3)
    page = Page(run(tmp_path, traffic=[str(path)])[1].read_text(encoding="utf-8"))
    assert "none failed" not in page.text
    assert re.search(r"Requests failed\s*6\s*of", page.text)


def test_files_with_the_same_path_are_told_apart(tmp_path):
    paths = [str(traffic_file(tmp_path / f"{name}.csv")) for name in ("first", "second")]
    assert list(traffic.read(paths, "traffic")) == ["first /web", "first /api", "second /web", "second /api"]


def test_words_are_text_and_not_markup(tmp_path):
    text = run(tmp_path, words=["<script>alert(1)</script>"], title="<b>")[1].read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_thinning_keeps_the_peak_and_the_gap():
    values = np.ones(5000)
    values[1234] = 9
    values[3000:3100] = np.nan
    times, thin = charts.thinned(np.arange(5000), values)
    assert len(times) == len(thin) <= charts.MOST_POINTS
    assert np.nanmax(thin) == 9
    assert np.isnan(thin).any()


def test_a_lower_quantile_makes_the_band_two_sided(tmp_path):
    two_sided = item("web", 420, 240)
    two_sided["quantiles"]["0.1"] = [value * 0.8 for value in two_sided["quantiles"]["0.5"]]
    page = Page(run(tmp_path, forecasts=[two_sided])[1].read_text(encoding="utf-8"))
    assert "80 % of outcomes" in page.text
    assert "99 % stay below" in page.text


def test_stamps_in_sentences_are_told_in_local_time():
    assert page_module.local("peak at 2026-07-03T22:20:00Z, 7 servers", BERLIN) == "peak at Sat 04 Jul 00:20, 7 servers"


def test_capacity_dips_while_servers_are_out_and_rises_with_standbys():
    plan = {
        "window": {"start": "2026-03-03T07:00:00Z", "end": "2026-03-03T07:20:00Z"},
        "standbys": {"activate": ["s1", "other"]},
        "batches": [
            {"pool": "web", "hosts": ["a", "b"], "start": "2026-03-03T07:00:00Z", "end": "2026-03-03T07:10:00Z"},
            {"pool": "api", "hosts": ["c"], "start": "2026-03-03T07:10:00Z", "end": "2026-03-03T07:20:00Z"},
        ],
    }
    span = (NOW.timestamp(), NOW.timestamp() + 86400)
    moments, left = charts.capacity_left(plan, "web", charts.Capacity(600.0, 100.0, ["s1", "s2"]), span)
    assert [moment.strftime("%H:%M") for moment in moments] == ["06:00", "07:00", "07:10", "07:20", "06:00"]
    assert left == [600.0, 500.0, 700.0, 600.0, 600.0]


@pytest.mark.parametrize(
    ("levels", "shown"),
    [([0.5], []), ([0.1, 0.5, 0.8, 0.9], [0.8, 0.9]), ([0.5, 0.75, 0.9, 0.95, 0.99, 0.999], [0.9, 0.99])],
)
def test_few_bands_are_shown(levels, shown):
    assert charts._shown(levels) == shown


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"plan": {"kind": "update"}}, "plan: it is not a plan of kind 'scaling'"),
        ({"update_plan": {}}, "update_plan: it is not a plan of kind 'update'"),
        ({"forecasts": [{"pool": "web"}]}, r"forecasts\[0\]: it has no metric. Give what the module forecast returns"),
        ({"traffic": ["nothing.csv"]}, "traffic: nothing.csv can't be read"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: there is no time zone 'Mars/Olympus'"),
        ({"marks": [{"time": "noon", "label": "x"}]}, "marks.time: 'noon' is not a time"),
        ({"dest": "/nowhere/report.html"}, "dest: /nowhere/report.html can't be written"),
        ({"dest": "/"}, "dest: / can't be read"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, given, problem):
    with pytest.raises(InvalidOption, match=problem):
        run(tmp_path, **given)


@pytest.mark.parametrize("text", ["", "time,path\n1,/\n", "time,path,sent,failed,p50_ms,p95_ms\nnoon,/,1,0,1,1\n"])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    path = tmp_path / "load.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidOption, match="traffic: "):
        traffic.read([str(path)], "traffic")


def test_a_backtest_is_a_picture_of_what_each_policy_spent_and_left(tmp_path):
    figures = {"server_hours": 120.0, "overload_minutes": 35.0, "tau_u": 0.01}
    rows = {"web: lowtide": figures, "web: oracle": {**figures, "overload_minutes": 0.0}}
    _result, page = run(tmp_path, backtest={"policies": rows, "words": ["web: so"]}, now=timing.iso(NOW))
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 1
    assert "what each policy would have spent and left" in text
    # The figures are in a table, under names that a person reads.
    assert re.search(r"<td>web</td><td>oracle</td>", text)
    assert ">overload, min</th>" in text and ">τ under</th>" in text


def test_policies_that_spend_and_leave_the_same_are_one_point():
    figures = {"server_hours": 120.0, "overload_minutes": 0.0}
    told = {
        "lowtide": figures,
        "reactive": {**figures, "server_hours": 120.04},
        "oracle": {**figures, "server_hours": 99.0},
    }
    assert policies.points(told) == {(120.0, 0.0): ["lowtide", "reactive"], (99.0, 0.0): ["oracle"]}
