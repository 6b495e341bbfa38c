"""The mapping protocol: CPython's own tests of it, and what goes beyond them."""

import collections.abc
import itertools
import shutil
import tempfile

import pytest

from bitcask import Bitcask, KeyNotFoundError

try:
    from test.mapping_tests import BasicTestMappingProtocol
except ImportError as e:
    raise ImportError(
        "these tests need CPython's own, the package `test`, which some distributions leave out: "
        "apt-get install libpython3-testsuite"
    ) from e


class Protocol(BasicTestMappingProtocol):
    """Each mapping is a store in a directory of its own."""

    options = {}

    def setUp(self):
        self.top = tempfile.mkdtemp()
        self.count = itertools.count()
        self.stores = []

    def tearDown(self):
        for store in self.stores:
            store.close()
        shutil.rmtree(self.top)

    def type2test(self):
        self.stores.append(Bitcask(f"{self.top}/{next(self.count)}", **self.options))
        return self.stores[-1]


class TestWithPickle(Protocol):
    options = {"codec": "pickle"}


class TestWithPickleInOrder(Protocol):
    options = {"codec": "pickle", "index": "ordered"}


class TestWithPickleAndSync(Protocol):
    options = {"codec": "pickle", "durability": "always", "io": "plain"}


class WithText(Protocol):
    """Values that can be in a set, which the tests put them into, and that are not changed by the codec."""

    def _reference(self):
        return {"1": "2", "key1": "value1", "key2": "value2"}


class TestWithJson(WithText):
    pass


class TestWithStr(WithText):
    options = {"codec": "str"}


class TestWithBytes(Protocol):
    options = {"codec": "bytes", "keys": "bytes"}

    def _reference(self):
        return {b"1": b"2", b"key1": b"value1", b"key2": b"value2"}

    def test_pop(self):
        # The original pops and puts what no codec of bytes takes; this is the rest of it.
        d = self._empty_mapping()
        d[b"k"] = b"v"
        assert d.pop(b"k") == b"v"
        with pytest.raises(KeyError):
            d.pop(b"k")

    def test_update(self):
        d = self._empty_mapping()
        d.update(self.other)
        assert dict(d) == self.other


del Protocol, WithText, BasicTestMappingProtocol


def test_it_is_a_mutable_mapping(db):
    assert isinstance(db, collections.abc.MutableMapping)
    assert Bitcask.__abstractmethods__ == frozenset()


def test_it_equals_a_dict_with_the_same_entries(db):
    db.update({"a": 1, "b": [2]})
    assert db == {"a": 1, "b": [2]}
    assert db != {"a": 1}
    assert {"a": 1, "b": [2]} == db
    with pytest.raises(TypeError):
        hash(db)


def test_a_missing_key_is_the_argument_of_the_error(db):
    with pytest.raises(KeyNotFoundError) as e:
        db["no"]
    assert e.value.args == ("no",)
    with pytest.raises(KeyError):
        del db["no"]
    with pytest.raises(KeyError):
        db.pop("no")


def test_views_show_what_is_there_now(db):
    keys, values, items = db.keys(), db.values(), db.items()
    db["a"] = [1]
    assert list(keys) == ["a"] and list(values) == [[1]] and list(items) == [("a", [1])]
    assert "a" in keys and [1] in values and ("a", [1]) in items
    assert ("a", [2]) not in items and [2] not in values
    assert len(keys) == len(values) == len(items) == 1
    assert keys & {"a", "b"} == {"a"} and keys | {"b"} == {"a", "b"}


def test_a_store_may_change_while_it_is_walked(db):
    db.update((f"k{n}", n) for n in range(1000))
    for key, value in db.items():
        del db[key]
        db["new-" + key] = value
    assert len(db) == 1000
    assert sorted(db.values()) == list(range(1000))
    assert all(key.startswith("new-") for key in db)


def test_clear_and_popitem_empty_it(db):
    db.update((str(n), n) for n in range(2500))
    key, value = db.popitem()
    assert key == str(value) and key not in db
    db.clear()
    assert len(db) == 0 and not db and list(db) == []
    with pytest.raises(KeyError):
        db.popitem()


def test_update_takes_what_a_dict_takes(db):
    db.update({"a": 1}, b=2)
    db.update([("c", 3)], other=4)
    db.update(((f"n{n}", n) for n in range(3000)))
    assert len(db) == 3004 and db["other"] == 4
    db |= {"a": 10}
    assert db["a"] == 10


def test_what_came_before_an_error_in_update_is_stored(db):
    def pairs():
        yield "a", 1
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        db.update(pairs())
    assert db["a"] == 1


def test_get_many(db):
    db.update({"a": 1, "b": 2})
    assert db.get_many(["b", "x", b"a"]) == [2, None, 1]
    assert db.get_many([]) == []
    assert db.get_many(iter(["x"]), default=0) == [0]


def test_reversed_needs_an_order(ordered):
    ordered.update(dict.fromkeys("bca"))
    assert list(ordered) == ["a", "b", "c"]
    assert list(reversed(ordered)) == ["c", "b", "a"]
