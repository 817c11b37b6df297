# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags of vSphere: the one thing that only its REST interface knows."""

from __future__ import annotations

import typing as t

from ..errors import AuthenticationFailed, CertificateRejected, ConnectionFailed, NotFound
from ..libraries import requests

_REMEDY = "Tags need vCenter; an ESXi host has none"


def machines(connection: t.Mapping[str, t.Any], tag: str, *, timeout: float = 20.0) -> set[str]:
    """Ids of the virtual machines that carry a tag, given as C(name) or C(category:name).

    :raises NotFound: when there is no such tag. :raises ConnectionFailed: when vCenter does not answer.
    """
    base = f"https://{connection['hostname']}:{connection['port']}/rest/com/vmware/cis"
    with requests.Session() as session:
        session.verify = (connection["ca_path"] or True) if connection["validate_certs"] else False
        session.trust_env = False  # no credentials from ~/.netrc, and the same way to vCenter as the session's

        def ask(method: str, path: str, **arguments: t.Any) -> t.Any:
            response = session.request(method, base + path, timeout=timeout, **arguments)
            response.raise_for_status()
            return response.json()["value"]

        try:
            token = ask("POST", "/session", auth=(connection["username"], connection["password"]))
            session.headers["vmware-api-session-id"] = token
            identity = _tag(ask, tag)
            objects = ask("POST", f"/tagging/tag-association/id:{identity}?~action=list-attached-objects", json={})
            session.delete(f"{base}/session", timeout=timeout)
        except requests.exceptions.SSLError as exc:
            raise CertificateRejected(
                f"the certificate of {connection['hostname']} is not trusted",
                option="connection.ca_path",
                remedy="Give connection.ca_path the PEM file of the authority that signed it",
            ) from exc
        except requests.exceptions.HTTPError as exc:
            if exc.response.status_code in (401, 403):
                raise AuthenticationFailed(
                    f"vCenter does not let user {connection['username']!r} read tags",
                    option="find.tag",
                    remedy="Give the account the privilege to read tags, or find servers by folder or attribute",
                ) from exc
            raise ConnectionFailed(f"vCenter can't tell tags: {exc}", option="find.tag", remedy=_REMEDY) from exc
        except requests.exceptions.RequestException as exc:
            raise ConnectionFailed(f"vCenter can't tell tags: {exc}", option="find.tag", remedy=_REMEDY) from exc
    return {item["id"] for item in objects if item["type"] == "VirtualMachine"}


def _tag(ask: t.Callable[..., t.Any], wanted: str) -> str:
    """The id of a tag."""
    category, separator, name = wanted.rpartition(":")
    for identity in ask("GET", "/tagging/tag"):
        found = ask("GET", f"/tagging/tag/id:{identity}")
        if found["name"] != (name if separator else wanted):
            continue
        if not separator or ask("GET", f"/tagging/category/id:{found['category_id']}")["name"] == category:
            return identity
    raise NotFound(f"vCenter has no tag {wanted!r}", option="find.tag", remedy="Write it as name, or category:name")
