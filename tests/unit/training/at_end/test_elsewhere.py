"""Whether a store's address says that its disk is another machine's."""

import socket

import pytest

from visionyard.training.at_end import elsewhere
from visionyard.training.at_end.elsewhere import store_is_elsewhere

OWN = ["127.0.0.1", "::1", "192.168.1.5", "93.184.216.1", "fe80::1%eth0"]


@pytest.mark.parametrize(
    ("addresses", "is_elsewhere"),
    [
        (["93.184.216.34"], True),
        (["2606:2800:220:1::1"], True),
        (["93.184.216.34", "2606:2800:220:1::1"], True),
        (["127.0.0.1"], False),
        (["::1"], False),
        (["192.168.1.5"], False),
        (["93.184.216.1"], False),  # its own public one
        (["172.18.0.3"], False),  # a container's on this machine, maybe
        (["100.64.1.1"], False),
        (["fe80::1%eth0"], False),
        (["93.184.216.34", "10.0.0.1"], False),
        ([], False),
        (["no address"], False),
    ],
)
def test_only_public_addresses_of_others_are_elsewhere_for_certain(addresses, is_elsewhere):
    assert store_is_elsewhere("store.example:443", lambda host: addresses, OWN, [22], contained=False) is is_elsewhere


def test_a_name_that_cannot_be_resolved_is_not_elsewhere():
    def resolve(host):
        raise OSError("no such host")

    assert not store_is_elsewhere("store.example:443", resolve, OWN, [], contained=False)


PUBLIC = "93.184.216.34"


def test_a_store_whose_port_somebody_here_listens_on_may_be_this_one():
    """A rented machine's public address is mostly none that it knows of."""
    assert not store_is_elsewhere("store.example:443", lambda host: [PUBLIC], OWN, [22, 443], contained=False)


def test_in_a_container_and_on_odd_ports_nobody_can_tell():
    assert not store_is_elsewhere("store.example:443", lambda host: [PUBLIC], OWN, [], contained=True)
    assert not store_is_elsewhere("store.example:9000", lambda host: [PUBLIC], OWN, [], contained=False)


def test_the_kernel_tells_who_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port in elsewhere._listening()
    assert port not in elsewhere._listening()


def test_this_machine_by_its_real_resolver_and_interfaces():
    assert not store_is_elsewhere("localhost:9000")
    assert not store_is_elsewhere("[::1]:9000")
    assert not store_is_elsewhere("127.0.0.1:9000")
