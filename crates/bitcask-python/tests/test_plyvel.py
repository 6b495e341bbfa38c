"""Behaviours that the public tests of plyvel check, as far as they apply here, in our own words."""

import itertools

import pytest

from bitcask import Bitcask


@pytest.fixture
def db(path):
    # As in LevelDB: bytes, in order.
    with Bitcask(path, codec="bytes", keys="bytes", index="ordered") as db:
        yield db


def entries(count):
    return [(f"{n:010d}".encode(), f"value-{n}".encode()) for n in range(count)]


def test_open__names_may_have_any_characters(tmp_path):
    for name in ("plain", "with space", "\u00fcml\u00e4ut", "new\nline"):
        Bitcask(tmp_path / name).close()
        assert (tmp_path / name).is_dir()


def test_open__parents_and_types_of_paths(tmp_path):
    Bitcask(str(tmp_path / "a")).close()
    Bitcask(tmp_path / "b").close()
    for path in (1, None, object()):
        with pytest.raises(TypeError):
            Bitcask(path)


def test_open__create_if_missing_and_error_if_exists(tmp_path):
    with pytest.raises(OSError):
        Bitcask(tmp_path / "x", create=False)
    Bitcask(tmp_path / "x", create=True).close()
    with Bitcask(tmp_path / "x", create=False) as db:
        db["a"] = 1
    with pytest.raises(OSError):
        Bitcask(tmp_path / "x", must_be_new=True)


def test_open_close__open_many_times_and_use_after_close(path):
    for n in range(5):
        with Bitcask(path) as db:
            db[str(n)] = n
            assert len(db) == n + 1
        with pytest.raises(ValueError):
            db.get("0")


def test_put_get_delete__whatever_the_bytes(db):
    for key, value in ((b"key", b"value"), (b"", b""), (b"\x00", b"\x00" * 10), (b"k\x00", b"v")):
        assert db.get(key) is None and db.get(key, b"default") == b"default"
        db.put(key, value)
        assert db.get(key) == value
        db.put(key, value + b"2")
        assert db.get(key) == value + b"2"
        db.delete(key)
        db.delete(key)
        assert db.get(key) is None


def test_put__large_values(db):
    value = bytes(range(256)) * 40_000
    db.put(b"large", value)
    assert db.get(b"large") == value


def test_types__text_is_no_bytes(db):
    for wrong in ("text", 1, None):
        with pytest.raises(TypeError):
            db.put(b"key", wrong)
    for wrong in (1, None, 1.5):
        with pytest.raises(TypeError):
            db.put(wrong, b"value")


def test_write_batch__order_of_changes_counts(db):
    with db.batch() as batch:
        batch.put(b"a", b"1")
        batch.delete(b"a")
        batch.put(b"b", b"1")
        batch.put(b"b", b"2")
        batch.delete(b"c")
        batch.put(b"c", b"3")
    assert list(db.scan()) == [(b"b", b"2"), (b"c", b"3")]


def test_write_batch__context_manager_without_and_with_exception(db):
    with pytest.raises(ValueError):
        with db.batch() as batch:
            batch.put(b"a", b"1")
            raise ValueError
    assert db.get(b"a") is None
    with db.batch() as batch:
        batch.put(b"a", b"1")
    assert db.get(b"a") == b"1"


def test_write_batch__clear_and_many(db):
    batch = db.batch()
    for key, value in entries(20_000):
        batch.put(key, value)
    batch.clear()
    batch.put(b"only", b"1")
    batch.write()
    assert list(db) == [b"only"]


def test_iteration__forward_backward_and_both_ends(db):
    pairs = entries(2000)
    db.update(pairs)
    assert list(db.scan()) == pairs and list(db.scan(reverse=True)) == pairs[::-1]
    assert list(db) == [key for key, _ in pairs] and list(db.values()) == [v for _, v in pairs]


def test_iteration__an_exhausted_iterator_stays_so(db):
    db.put(b"a", b"1")
    scan = db.scan()
    assert next(scan) == (b"a", b"1")
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(scan)
    db.put(b"b", b"2")
    assert list(scan) == []


def test_iteration__an_empty_database(db):
    assert list(db.scan()) == list(db.scan(reverse=True)) == []
    assert list(db.scan(start=b"a", end=b"z")) == []


def test_range_iteration__every_pair_of_bounds(db):
    pairs = entries(8)
    db.update(pairs)
    keys = [None, b"", b"z", b"0", *[key for key, _ in pairs], pairs[3][0] + b"x"]
    for start, end in itertools.product(keys, keys):
        wanted = [
            pair
            for pair in pairs
            if (start is None or pair[0] >= start) and (end is None or pair[0] < end)
        ]
        assert list(db.scan(start=start, end=end)) == wanted
        assert list(db.scan(start=start, end=end, reverse=True)) == wanted[::-1]


def test_prefix__with_reverse_and_bounds(db):
    for key in (b"a", b"ab", b"ab1", b"ab2", b"ac", b"b", b"ab\xff", b"ab\xff\xff"):
        db.put(key, b"")
    within = [b"ab", b"ab1", b"ab2", b"ab\xff", b"ab\xff\xff"]
    assert [key for key, _ in db.scan(b"ab")] == within
    assert [key for key, _ in db.scan(b"ab", reverse=True)] == within[::-1]
    assert [key for key, _ in db.scan(b"ab", start=b"ab1", end=b"ab\xff")] == [b"ab1", b"ab2"]
    assert list(db.scan(b"zz")) == []


def test_snapshot__reads_iterates_and_outlives_changes(db):
    db.update(entries(100))
    snapshot = db.snapshot()
    other = db.snapshot()
    db.clear()
    db.put(b"new", b"1")
    assert len(list(snapshot.scan())) == 100 and snapshot.get(b"new") is None
    assert list(snapshot.scan(b"000000009")) == entries(100)[90:]
    assert list(snapshot.scan(reverse=True, limit=1)) == entries(100)[99:]
    other.close()
    assert snapshot.get(entries(1)[0][0]) == entries(1)[0][1]
    del snapshot
    assert list(db) == [b"new"]


def test_compaction__keeps_what_is_there(db):
    for key, value in entries(2000):
        db.put(key, value)
        if key.endswith(b"5"):
            db.delete(key)
    before = list(db.scan())
    db.merge()
    assert list(db.scan()) == before and len(before) == 1800


def test_stats_and_properties(db):
    db.put(b"a", b"1")
    assert db.stats()["keys"] == 1
    with pytest.raises(KeyError):
        db.stats()["no such property"]


def test_repair_and_destroy(tmp_path):
    import bitcask

    with Bitcask(tmp_path / "x") as db:
        db["a"] = 1
        with pytest.raises(bitcask.LockedError):
            bitcask.destroy(tmp_path / "x")
        with pytest.raises(bitcask.LockedError):
            bitcask.repair(tmp_path / "x")
    bitcask.repair(tmp_path / "x")
    with Bitcask(tmp_path / "x") as db:
        assert db["a"] == 1
    bitcask.destroy(tmp_path / "x")
    assert not (tmp_path / "x").exists()
