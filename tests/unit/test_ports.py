# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports that the tests give to their servers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "simulators"))
from ports import Ports, bindable, ephemeral, free_port

TESTS = pathlib.Path(__file__).resolve().parents[1]
NONE = (0, 0)


@pytest.fixture
def first():
    """The first of thirty ports that are this test's alone."""
    with contextlib.closing(Ports(ephemeral())) as whole:
        yield whole.take()


@pytest.fixture
def make(first):
    """What hands out those thirty, in blocks of ten."""
    name = f"lowtide-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:

        def make(ephemeral=NONE):
            ports = Ports(ephemeral, first=first, last=first + 29, block=10, name=name)
            return stack.enter_context(contextlib.closing(ports))

        yield make


def taken(ports):
    """All that it hands out."""
    result = []
    with pytest.raises(RuntimeError, match="every block of ports outside of"):
        while True:
            result.append(ports.take())
    return result


def test_each_is_handed_out_once(make, first):
    assert taken(make()) == list(range(first, first + 30))


def test_two_processes_share_none(make, first):
    one, other = make(), make()
    ports = [one.take(), other.take(), *taken(one), *taken(other)]
    assert sorted(ports) == list(range(first, first + 30))


def test_a_process_that_ends_leaves_its_blocks_to_others(make):
    one = make()
    ports = taken(one)
    assert taken(make()) == []
    one.close()
    assert taken(make()) == ports


def test_blocks_that_reach_into_the_kernels_are_left_out(make, first):
    assert taken(make((first + 9, first + 10))) == list(range(first + 20, first + 30))
    assert taken(make((1024, 65535))) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.10.7", "0.0.0.0"])
def test_one_that_a_server_listens_on_is_left_out(make, address):
    ports = make()
    port = ports.take()
    with socket.create_server((address, port)):
        assert not bindable(port)
        ports.close()
        assert port not in taken(make())


def test_one_whose_connections_have_just_ended_is_not(make):
    port = make().take()
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as client:
        server.accept()[0].close()  # Ended by the server, whose end now waits.
        assert client.recv(1) == b""
    assert bindable(port)
    socket.create_server(("127.0.0.1", port)).close()


def test_real_processes_at_once():
    """As several workers, each with threads of its own."""
    code = (
        "import concurrent.futures, ports\n"
        "with concurrent.futures.ThreadPoolExecutor(4) as pool:\n"
        "    print(*pool.map(lambda _: ports.free_port(), range(600)), flush=True)\n"
        "input()"
    )

    def begin(_number):
        return subprocess.Popen(
            [sys.executable, "-c", code], cwd=TESTS / "simulators", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    own = free_port()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        processes = list(pool.map(begin, range(3)))
    ports = [int(port) for process in processes for port in process.stdout.readline().split()]
    for process in processes:
        process.communicate("\n")
    low, high = ephemeral()
    assert len({own, *ports}) == 1 + 3 * 600
    assert not [port for port in ports if low <= port <= high]


def test_nobody_looks_for_a_port_of_his_own():
    """What binds a port that the kernel chose, and closes it before a server has it, may lose it in between."""
    chosen = re.compile(r"\.bind\(\(.*, 0\)\)")
    datagrams = {TESTS / "unit" / "actuators" / "test_standby_operation.py"}  # Bound, and kept.
    files = set(TESTS.rglob("*.py")) - datagrams - {pathlib.Path(__file__)}
    assert len(files) > 100
    assert [path for path in files if chosen.search(path.read_text(encoding="utf-8"))] == []
