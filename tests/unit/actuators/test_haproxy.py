# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Corners of the protocol that a real HAProxy does not show; all else is tested on a real one."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators import haproxy
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators.balancer import TimedOut
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import ConnectionFailed, InvalidOption


@contextlib.contextmanager
def peer(parts: list[bytes], *, closes: bool = False):
    """Something that listens, and sends these parts to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _peer = listener.accept()
            with connection:
                for part in parts:
                    connection.sendall(part)
                if not closes:
                    done.wait(5)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        thread.join()


def test_answers_that_come_in_pieces_are_put_together():
    with peer([b"\n", b"> ", b"one\ntwo\n\n", b"> \n> "]) as address:
        session = haproxy.Session(address, timeout=2, option="socket")
        assert session.ask("show a", "show b") == ["one\ntwo", ""]
        session.close()


def test_a_peer_that_says_nothing_times_out():
    with peer([]) as address, pytest.raises(TimedOut, match=r"reply_timeout: .* did not answer within 0.2 s"):
        haproxy.Session(address, timeout=0.2, option="socket")


def test_a_peer_that_hangs_up_is_named():
    with (
        peer([b"HTTP/1.1 400\r\n"], closes=True) as address,
        pytest.raises(ConnectionFailed, match="ended the session"),
    ):
        haproxy.Session(address, timeout=2, option="socket")


def test_a_server_deleted_between_two_answers_is_none():
    state = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port\n"
    )
    state += "3 web 1 web1 127.0.0.1 2 0 100 100 80\n3 web 2 web2 127.0.0.1 2 0 100 100 80\n\n"
    figures = "# svname,type,qcur,uweight,scur,stot,rate,hrsp_5xx,econ,eresp,qtime,ctime,rtime,check_status\n"
    figures += "web1,2,0,100,0,5,0,0,0,0,0,0,0,\nBACKEND,1,0,100,0,5,0,0,0,0,0,0,0,\n\n"
    with peer([b"\n> ", state.encode() + b"> ", figures.encode() + b"> "]) as address:
        proxy = haproxy.HAProxy(address, "web", timeout=2)
        assert list(proxy.read()) == ["web1"]
        proxy.close()


@pytest.mark.parametrize("command", ["show a;show b", "show a\nshow b", "show \x00", "show\r"])
def test_two_commands_in_one_never_leave(command):
    with peer([b"\n> "]) as address:
        session = haproxy.Session(address, timeout=2, option="socket")
        with pytest.raises(ValueError, match="is not one command"):
            session.ask(command)
        session.close()


@pytest.mark.parametrize(
    "address", ["lb1:9999", "tcp://lb1", "tcp://lb1:0", "tcp://lb1:70000", "http://lb1:80", "", "x"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(InvalidOption, match=r"socket\[0\]: .* Write tcp://lb1:9999"):
        haproxy.parse_address(address, "socket[0]")


def test_addresses():
    assert haproxy.parse_address("tcp://[::1]:9999", "socket") == (socket.AF_INET6, ("::1", 9999))
    assert haproxy.parse_address("tcp://lb1:9999", "socket") == (socket.AF_INET, ("lb1", 9999))
    assert haproxy.parse_address("unix:///run/a.sock", "socket") == (socket.AF_UNIX, "/run/a.sock")
    assert haproxy.parse_address("/run/a.sock", "socket") == (socket.AF_UNIX, "/run/a.sock")
