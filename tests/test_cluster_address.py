"""The addresses of a NATS cluster, and how many servers keep what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from murakkab.bus.link import _without_password
from murakkab.bus.provision import replicas
from murakkab.bus.roles import BadAddress, address
from murakkab.client.session import BadRequest
from murakkab.client.up import _listen


def test_each_server_gets_the_roles_password(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"worker": "p1"}))
    environ = {"MURAKKAB_CREDENTIALS": str(tmp_path / "c.json")}
    url = address("nats://a:4222, tls://b:4223,c", "worker", environ)
    assert url == "nats://worker:p1@a:4222,tls://worker:p1@b:4223,nats://worker:p1@c"
    assert _without_password(url) == "nats://a:4222, tls://b:4223, nats://c"


@pytest.mark.parametrize("url", ["nats://a:4222,", "nats://a:4222,http://b", ",nats://a", "nats://a:4222,b:port"])
def test_one_bad_address_is_named(url: str) -> None:
    with pytest.raises(BadAddress, match="is not a NATS address such as"):
        address(url, "worker", {})


def test_copies_of_streams() -> None:
    assert replicas({}) == replicas({"MURAKKAB_REPLICAS": ""}) == 1
    assert replicas({"MURAKKAB_REPLICAS": "3"}) == 3
    for text in ("0", "2", "three", "-1", "7"):
        with pytest.raises(ValueError, match=f"MURAKKAB_REPLICAS={text}: it is 1, 3 or 5"):
            replicas({"MURAKKAB_REPLICAS": text})


def test_where_an_embedded_server_listens() -> None:
    assert _listen("") == ("127.0.0.1", -1)
    assert _listen("192.0.2.7") == ("192.0.2.7", 4222)
    assert _listen("0.0.0.0:4333") == ("0.0.0.0", 4333)
    for text in ("here", "192.0.2.7:0", "192.0.2.7:99999", "192.0.2.7:x", "1.2.3"):
        with pytest.raises(BadRequest, match="it is an IPv4 address of this machine"):
            _listen(text)
