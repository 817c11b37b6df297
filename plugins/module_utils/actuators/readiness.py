# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a server that is up carries load: a TCP connection, or an HTTP answer."""

from __future__ import annotations

import http.client
import socket


def answers(address: str, port: int, path: str | None, timeout: float) -> bool:
    """Try once.

    :param path: What to ask for by HTTP, where a status of 200 to 399 is good; none for a TCP connection alone.
    :param timeout: Seconds.
    """
    if path is None:
        try:
            socket.create_connection((address, port), timeout=timeout).close()
        except OSError:
            return False
        return True
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
