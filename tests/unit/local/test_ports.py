import socket

import pytest

from visionyard.local.ports import HOST, Port, PortClaims, PortInUse, choose, is_free


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_in_use_is_named_with_its_purpose_and_the_way_out(listening, tmp_path):
    with pytest.raises(PortInUse) as caught:
        choose((Port("x", listening, "the tea kettle"),), PortClaims(tmp_path), any_port=False)
    assert str(listening) in str(caught.value)
    assert "the tea kettle" in str(caught.value)
    assert "--any-port" in str(caught.value)


def test_every_port_in_use_is_named_at_once(listening, tmp_path):
    ports = (Port("x", listening, "the kettle"), Port("y", listening, "the pot"))
    with pytest.raises(PortInUse) as caught:
        choose(ports, PortClaims(tmp_path), any_port=False)
    assert "the kettle" in str(caught.value)
    assert "the pot" in str(caught.value)


def test_any_port_takes_a_later_one(listening, tmp_path):
    chosen = choose((Port("x", listening, "the kettle"),), PortClaims(tmp_path), any_port=True)
    assert chosen["x"] > listening
    assert is_free(chosen["x"])


def test_two_stacks_never_choose_the_same_though_neither_listens_yet(listening, tmp_path):
    wanted = (Port("x", listening, "the kettle"), Port("y", listening, "the pot"))
    first, second = PortClaims(tmp_path), PortClaims(tmp_path)
    numbers = [*choose(wanted, first, any_port=True).values(), *choose(wanted, second, any_port=True).values()]
    assert len(set(numbers)) == 4


def test_what_was_released_may_be_claimed_again(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    first, second = PortClaims(tmp_path), PortClaims(tmp_path)
    assert first.claim(port)
    assert not second.claim(port)
    first.release()
    assert second.claim(port)


def test_a_claimed_port_is_its_servers_and_no_outgoing_connections(tmp_path):
    claims = PortClaims(tmp_path)
    with socket.socket() as found:
        found.bind((HOST, 0))
        port = found.getsockname()[1]
    assert claims.claim(port)
    with socket.socket() as client, pytest.raises(OSError, match="in use"):
        client.bind((HOST, port))
    for _ in range(2):  # a server may come, go, and come again
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((HOST, port))
            server.listen()
            with socket.create_connection((HOST, port)):
                pass
    claims.release()
    assert is_free(port)
