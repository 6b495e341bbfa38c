"""Behaviours that the public tests of diskcache check, as far as they apply here, in our own words."""

import collections
import os

import pytest
from conftest import run_all, wait_until

from bitcask import Bitcask


@pytest.fixture
def cache(path):
    # As in diskcache: any object, by pickle.
    with Bitcask(path, codec="pickle", durability="os") as cache:
        yield cache


def test_init__the_directory_is_made_and_kept(cache, path):
    assert path.is_dir()
    cache["key"] = 0
    cache.close()
    with Bitcask(path, codec="pickle") as again:
        assert again["key"] == 0


def test_getsetdel__values_of_all_types_and_sizes(cache):
    values = [
        (None, False),
        (None, ()),
        (1, 1 << 100),
        2.5,
        "text",
        "t" * 70_000,
        b"b" * 70_000,
        bytearray(b"x"),
        {"nested": [{1, 2}, frozenset()]},
        collections.Counter("abca"),
        complex(1, 2),
    ]
    for n, value in enumerate(values):
        cache[str(n)] = value
    assert len(cache) == len(values)
    for n, value in enumerate(values):
        assert cache[str(n)] == value and type(cache[str(n)]) is type(value)
    for n in range(len(values)):
        del cache[str(n)]
        assert str(n) not in cache
        with pytest.raises(KeyError):
            del cache[str(n)]
    assert len(cache) == 0


def test_get__default_and_missing(cache):
    assert cache.get("none") is None
    assert cache.get("none", 5) == 5
    with pytest.raises(KeyError):
        cache["none"]


def test_set__an_old_value_is_replaced_whatever_its_size(cache):
    for value in ("small", "L" * 100_000, "small again", "L" * 50_000):
        cache["key"] = value
        assert cache["key"] == value and len(cache) == 1


def test_set_twice_and_timeout(cache):
    cache.put("key", "a", ttl=0.01)
    cache.put("key", "b")
    cache.put("sign", "c", ttl=0.01)
    wait_until(lambda: "sign" not in cache)
    assert cache["key"] == "b"


def test_add__only_if_absent_or_expired(cache):
    assert cache.add("key", 1)
    assert not cache.add("key", 2)
    assert cache["key"] == 1
    cache.put("soon", 1, ttl=0.01)
    wait_until(lambda: "soon" not in cache)
    assert cache.add("soon", 2) and cache["soon"] == 2


def test_add_concurrent__one_wins(cache):
    results = []
    run_all(*(lambda n=n: results.append(cache.add("key", n)) for n in range(8)))
    assert results.count(True) == 1


def test_incr__from_nothing_by_any_number(cache):
    assert cache.incr("key") == 1
    assert cache.incr("key", 10) == 11
    assert cache.incr("key", -20) == -9
    assert cache["key"] == -9
    with pytest.raises(ValueError):
        cache["text"] = "a"
        cache.incr("text")


def test_touch__the_time_can_be_changed(cache):
    assert not cache.expire("key", 1)
    cache["key"] = 1
    assert cache.expire("key", 0.02)
    wait_until(lambda: "key" not in cache)
    cache.put("key", 1, ttl=60)
    assert cache.persist("key") and cache.ttl("key") is None
    assert cache["key"] == 1


def test_pop__gives_and_deletes(cache):
    cache["a"] = 1
    assert cache.pop("a") == 1 and "a" not in cache
    assert cache.pop("a", None) is None
    cache.put("soon", 1, ttl=0.01)
    wait_until(lambda: "soon" not in cache)
    with pytest.raises(KeyError):
        cache.pop("soon")


def test_delete__says_whether_it_was_there(cache):
    cache["a"] = 1
    assert cache.delete("a") is True and cache.delete("a") is False


def test_iter__what_is_added_meanwhile_does_not_disturb(cache):
    cache.update((str(n), n) for n in range(50))
    seen = []
    for key in cache:
        seen.append(key)
        cache["new-" + key] = 1
    assert sorted(seen, key=int) == [str(n) for n in range(50)] and len(cache) == 100


def test_iter_error_and_contains_of_expired(cache):
    with pytest.raises(StopIteration):
        next(iter(cache))
    cache.put("key", 1, ttl=60)
    assert "key" in cache
    cache.expire("key", 0.01)
    wait_until(lambda: "key" not in cache)
    assert "key" not in cache and list(cache) == [] and len(cache) == 0


def test_clear__empties(cache):
    cache.update(dict.fromkeys("abc", 0))
    cache.clear()
    assert len(cache) == 0 and list(cache) == []


def test_check__finds_nothing_wrong_in_a_sound_store(cache):
    cache.update((str(n), os.urandom(100)) for n in range(200))
    assert cache.verify().is_clean


def test_multiple_threads__with_handles_of_their_own_to_read(cache, path):
    cache.update((str(n), n) for n in range(100))

    def read():
        with Bitcask(path, codec="pickle", read_only=True) as reader:
            assert sum(reader.values()) == 4950

    run_all(*[read] * 4)


def test_transact__nothing_of_a_failed_one_stays(cache):
    cache["a"] = 1
    with pytest.raises(RuntimeError):
        with cache.transaction() as tx:
            tx["a"] = 2
            tx["b"] = 3
            raise RuntimeError
    assert dict(cache) == {"a": 1}
    with cache.transaction() as tx:
        tx["a"] = 2
        del tx["a"]
        tx["b"] = 3
    assert dict(cache) == {"b": 3}


def test_ior_and_update__as_a_dict(cache):
    cache |= {"a": 1}
    cache.update([("b", 2)])
    assert dict(cache) == {"a": 1, "b": 2}


def test_volume__grows_and_shrinks(cache):
    cache["a"] = "x" * 100_000
    full = cache.stats()["live_bytes"]
    del cache["a"]
    cache.merge()
    assert cache.stats()["live_bytes"] < full - 90_000
