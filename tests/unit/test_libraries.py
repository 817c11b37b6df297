# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import types

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import libraries
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import MissingLibrary


@pytest.fixture
def installed(monkeypatch):
    """Makes a library of a version appear, and tells of the proxy for it."""

    def install(version, minimum="1.10", **attributes):
        module = types.ModuleType("tide_tables")
        module.__dict__.update(attributes)
        if version is not None:
            module.__version__ = version
        monkeypatch.setitem(sys.modules, "tide_tables", module)
        return libraries.Library("tide_tables", distribution="tide-tables", minimum=minimum, reason="for the tides")

    return install


def test_absent_is_an_error_of_the_first_use_with_name_reason_and_remedy():
    proxy = libraries.Library("no_such_tide", distribution="no-such-tide", minimum="2.0", reason="for the tides")
    with pytest.raises(MissingLibrary) as caught:
        _anything = proxy.anything
    assert str(caught.value) == (
        "the Python library no-such-tide >= 2.0 is needed for the tides. "
        "Install it for the Python that runs this task: pip install 'no-such-tide >= 2.0'."
    )


@pytest.mark.parametrize("version", ["1.9", "1.9.99", "0.99", "1"])
def test_too_old_says_what_was_found(installed, version):
    with pytest.raises(MissingLibrary, match=f"tide-tables >= 1.10 .* but only version {version} was found"):
        installed(version).load()


@pytest.mark.parametrize("version", ["1.10", "1.10.0rc1", "1.11", "2", None])
def test_new_enough_or_unversioned_gives_what_it_has(installed, version):
    assert installed(version, high=4.5).high == 4.5


def test_what_a_library_lacks_is_the_usual_error(installed):
    with pytest.raises(AttributeError, match="low"):
        _low = installed("2.0").low


THREADS_AFTER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.lowtide.fleet.plugins.module_utils.libraries import numpy
numpy.linalg.inv(numpy.ones((1, 1)))
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


@pytest.mark.parametrize("wanted", [None, "1", "2"])
def test_linear_algebra_starts_no_threads_unless_the_environment_says_so(wanted):
    collections = pathlib.Path(libraries.__file__).parents[5]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", THREADS_AFTER, str(collections)],
        env=environment if wanted is None else {**environment, "OPENBLAS_NUM_THREADS": wanted},
        capture_output=True,
        text=True,
        check=True,
    )
    threads, left = done.stdout.split()
    assert left == str(wanted)
    assert int(threads) == min(int(wanted or 1), os.cpu_count())


def test_tools_that_look_for_special_names_import_nothing():
    proxy = libraries.Library("no_such_tide", distribution="no-such-tide", minimum="2.0")
    assert not hasattr(proxy, "__wrapped__")
