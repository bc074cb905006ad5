"""Who may connect: the roles of nats.conf, their passwords, and the address of each.

Where credentials come from, first found wins: user and password inside the URL; the file named by MURAKKAB_CREDENTIALS
(JSON, role to password, as `murakkab up` writes it); none, for a server without authorization.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROLES = ("client", "planner", "optimizer", "conductor", "clustermgr", "worker", "observer")
CREDENTIALS = "MURAKKAB_CREDENTIALS"


class BadAddress(ValueError):
    """A NATS URL or credentials file that cannot be used: what and why."""


def make_passwords() -> dict[str, str]:
    """Fresh passwords; the letter in front keeps nats.conf from reading one as a number."""
    return {role: "p" + secrets.token_hex(16) for role in ROLES}


def save(passwords: Mapping[str, str], path: Path) -> None:
    """Readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        json.dump(dict(passwords), f)


def address(url: str, role: str, environ: Mapping[str, str]) -> str:
    """The URL with the role's user and password in it; of a cluster, several with commas between. Raises BadAddress."""
    return ",".join(_one(server.strip(), role, environ) for server in url.split(","))


def _one(url: str, role: str, environ: Mapping[str, str]) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    try:
        usable = parts.scheme in ("nats", "tls", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # what urlsplit says of a port that is not a number up to 65535
        usable = False
    if not usable:
        raise BadAddress(f"'{url}' is not a NATS address such as nats://127.0.0.1:4222")
    if parts.username:
        return urlunsplit(parts)
    named = environ.get(CREDENTIALS)
    if not named:
        return urlunsplit(parts)
    try:
        password = json.loads(Path(named).read_text())[role]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadAddress(f"{CREDENTIALS}={named}: no password of role '{role}' ({error})") from None
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc}"))


def inbox(role: str) -> str:
    """Where replies to this role arrive; no other role may listen there."""
    return f"_INBOX.{role}"
