"""Listings in key order over a store that walks folders by their names."""

from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.kit.objectstore.listing import in_key_order, server_start
from visionyard.kit.objectstore.port import Listing

NAMES = st.text(alphabet="ab-.0", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})


def level(names, folders):
    return [Listing(f"p/{n}", 1, "", None) for n in names] + [Listing(f"p/{n}/", 0, "", None, is_prefix=True) for n in folders]


def pages_of(entries, size, order):
    entries = sorted(entries, key=order)
    return [entries[i : i + size] for i in range(0, len(entries), size)]


def by_name(entry):
    return (entry.key.rstrip("/"), entry.is_prefix)


def by_key(entry):
    return entry.key


@settings(deadline=None)
@given(st.sets(NAMES, max_size=30), st.sets(NAMES, max_size=30), st.integers(1, 7), st.sampled_from([by_name, by_key]))
def test_any_level_in_any_order_comes_out_in_key_order(names, folders, size, order):
    entries = level(names, folders)
    assert [entry.key for entry in in_key_order(pages_of(entries, size, order))] == sorted(entry.key for entry in entries)


@settings(deadline=None)
@given(
    st.sets(NAMES, max_size=30),
    st.sets(NAMES, max_size=30),
    st.one_of(
        NAMES.map(lambda n: f"p/{n}"), NAMES.map(lambda n: f"p/{n}/"), NAMES.map(lambda n: f"p/{n}/x"), NAMES.map(lambda n: f"p/{n}0")
    ),
    st.sampled_from(["p/", "p/a", "p/a-"]),
    st.sampled_from(["by name", "by key"]),
)
def test_nothing_is_skipped_by_the_servers_start(names, folders, start_after, prefix, walk):
    wanted = {e.key for e in level(names, folders) if e.key.startswith(prefix) and e.key > start_after and start_after.startswith(prefix)}
    start = server_start(prefix, start_after)
    given_out = {e.key for e in level(names, folders) if (e.key.rstrip("/") if walk == "by name" else e.key) > start}
    assert wanted <= given_out


def test_the_next_page_of_ids_of_one_length_reads_nothing_twice():
    assert server_start("p/jobs/", "p/jobs/0abc0") == "p/jobs/0abc"
