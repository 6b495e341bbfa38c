"""Scans, snapshots, batches, transactions, expiry, care, options: case by case."""

import datetime
import gc
import json

import pytest
from conftest import wait_until

import bitcask
from bitcask import Bitcask, ClosedError, ConflictError, InvalidError


# Scans.


def test_scan_by_prefix_works_on_both_indexes(tmp_path):
    for index in ("hash", "ordered"):
        with Bitcask(tmp_path / index, index=index) as db:
            db.update({f"{kind}:{n}": n for kind in ("user", "visit") for n in range(300)})
            assert sorted(db.scan("user:")) == sorted((f"user:{n}", n) for n in range(300))
            assert dict(db.scan("user:29")) == {f"user:{n}": n for n in [29, *range(290, 300)]}
            assert len(list(db.scan("user:", limit=7))) == 7
            assert list(db.scan("nobody:")) == [] and list(db.scan(limit=0)) == []
            assert len(list(db.scan())) == 600


def test_scan_in_order(ordered):
    ordered.update((f"{n:03}", n) for n in range(1000))

    def keys(*args, **options):
        return [n for _, n in ordered.scan(*args, **options)]

    assert keys() == list(range(1000))
    assert keys(reverse=True) == list(range(999, -1, -1))
    assert keys(start="100", end="110") == list(range(100, 110))
    assert keys(start="100", end="110", reverse=True, limit=3) == [109, 108, 107]
    assert keys("12", start="125") == list(range(125, 130))
    assert keys("12", end=b"125") == list(range(120, 125))
    assert keys("12", start="500") == [] and keys("12", end="000") == []
    assert keys(start="9", end="1") == [] and keys(start="5", end="5") == []
    assert keys(start="997") == [997, 998, 999] and keys(end="003") == [0, 1, 2]
    assert keys(start="", limit=2) == [0, 1] and keys(end="") == []


def test_a_prefix_of_the_highest_bytes(ordered):
    for key in (b"\xfe", b"\xff", b"\xff\xff", b"\xff\xffa", b"a"):
        ordered[key] = 1
    assert [key for key, _ in ordered.scan(b"\xff")] == [b"\xff", b"\xff\xff", b"\xff\xffa"]
    assert [key for key, _ in ordered.scan(b"\xff\xff", reverse=True)] == [b"\xff\xffa", b"\xff\xff"]


@pytest.mark.parametrize("how", [{"start": "a"}, {"end": "a"}, {"reverse": True}])
def test_an_order_that_is_not_there_is_told(db, how):
    with db.snapshot() as snapshot:
        for scan in (db.scan, snapshot.scan):
            with pytest.raises(InvalidError, match='index="ordered"'):
                scan(**how)
    with pytest.raises(InvalidError, match='index="ordered"'):
        reversed(db)


def test_a_limit_is_no_negative_number(db):
    with pytest.raises(InvalidError, match="limit"):
        db.scan(limit=-1)
    with pytest.raises(TypeError):
        db.scan(limit="1")


def test_a_scan_is_of_one_moment(ordered):
    ordered.update((str(n), n) for n in range(1000))
    scan = ordered.scan()
    next(scan)
    ordered.clear()
    assert len(list(scan)) == 999


# Snapshots.


def test_a_snapshot_never_changes(db):
    db.update({"a": 1, "b": 2})
    with db.snapshot() as snapshot:
        db["a"] = 10
        del db["b"]
        db["c"] = 3
        db.merge()
        assert dict(snapshot) == {"a": 1, "b": 2} == snapshot and len(snapshot) == 2
        assert snapshot["b"] == 2 and "c" not in snapshot and snapshot.get("c", 0) == 0
        assert dict(snapshot.items()) == {"a": 1, "b": 2} and sorted(snapshot.values()) == [1, 2]
        assert snapshot.ttl("a") is None
        with pytest.raises(TypeError):
            snapshot["a"] = 1
    assert dict(db) == {"a": 10, "c": 3}


def test_a_snapshot_that_is_over_is_told(db):
    snapshot = db.snapshot()
    snapshot.close()
    snapshot.close()
    assert snapshot.closed
    for call in (lambda: snapshot.get("a"), lambda: list(snapshot), lambda: len(snapshot)):
        with pytest.raises(ClosedError):
            call()
    assert db.stats()["snapshots"] == []


# Batches.


def test_a_batch_is_made_whole_or_not_at_all(db):
    db["gone"] = 1
    with db.batch() as batch:
        batch.put("a", 1)
        batch["b"] = 2
        batch.delete("gone")
        batch.put("b", 3)
        assert len(batch) == 4 and "a" not in db and "gone" in db
    assert dict(db) == {"a": 1, "b": 3}
    with pytest.raises(ZeroDivisionError):
        with db.batch() as batch:
            batch.put("c", 1)
            del batch["a"]
            1 / 0
    assert dict(db) == {"a": 1, "b": 3}
    assert db.stats()["batches"] == 1


def test_a_batch_that_is_over_is_told(db):
    with db.batch() as batch:
        pass
    for call in (lambda: batch.put("a", 1), batch.write, lambda: len(batch), batch.clear):
        with pytest.raises(ClosedError):
            call()
    batch.discard()


def test_a_batch_can_be_filled_anew(db):
    batch = db.batch()
    for n in range(3):
        batch.put(str(n), n)
        batch.write()
        assert len(batch) == 0
    batch.put("never", 1)
    batch.clear()
    batch.write()
    assert sorted(db) == ["0", "1", "2"]


def test_an_error_while_a_batch_is_filled_leaves_it_as_it_was(db):
    with db.batch() as batch:
        batch.put("a", 1)
        with pytest.raises(bitcask.EncodeError):
            batch.put("b", {1})
        with pytest.raises(TypeError):
            batch.put(1, 1)
    assert dict(db) == {"a": 1}


# Transactions.


def test_a_transaction_reads_one_moment_and_its_own_changes(ordered):
    db = ordered
    db.update({"a": 1, "b": 2})

    def change(tx):
        assert tx["a"] == 1 and tx.get("x", 0) == 0 and "x" not in tx
        tx["a"] = 10
        tx.put("x", 5, ttl=100)
        assert tx.delete("b") and not tx.delete("nothing")
        assert tx["a"] == 10 and "b" not in tx
        assert list(tx.scan()) == [("a", 10), ("x", 5)]
        assert list(tx.scan(reverse=True, limit=1)) == [("x", 5)]
        with pytest.raises(KeyError):
            tx["b"]
        with pytest.raises(KeyError):
            del tx["b"]
        assert db["a"] == 1
        return "done"

    assert db.transaction(change) == "done"
    assert dict(db) == {"a": 10, "x": 5} and db.ttl("x") > 90


def test_a_transaction_begins_again_after_a_conflict(db):
    db["n"] = 0
    runs = []

    def change(tx):
        value = tx["n"]
        if len(runs) < 3:
            db["n"] = db["n"] + 100
        runs.append(value)
        tx["n"] = value + 1

    db.transaction(change)
    assert runs == [0, 100, 200, 300] and db["n"] == 301


def test_a_transaction_gives_up(db):
    db["n"] = 0

    def change(tx):
        tx["n"] = tx["n"] + 1
        db["n"] = db["n"] + 100

    with pytest.raises(ConflictError) as e:
        db.transaction(change, retries=2)
    assert isinstance(e.value, TimeoutError) and e.value.key == b"n"
    assert db["n"] == 300 and db.stats()["conflicts"] == 3


def test_a_transaction_that_raises_changes_nothing(db):
    def change(tx):
        tx["a"] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.transaction(change)
    with pytest.raises(ZeroDivisionError):
        with db.transaction() as tx:
            tx["a"] = 1
            1 / 0
    assert len(db) == 0
    with pytest.raises(ClosedError):
        tx["a"]


def test_a_transaction_as_a_block_is_one_attempt(db):
    db["n"] = 1
    with db.transaction() as tx:
        tx["n"] += 1
    assert db["n"] == 2
    with pytest.raises(ConflictError):
        with db.transaction() as tx:
            tx["n"] += 1
            db["n"] = 10
    assert db["n"] == 10


def test_a_key_that_comes_into_a_range_is_a_conflict(ordered):
    with pytest.raises(ConflictError):
        with ordered.transaction() as tx:
            tx["count"] = len(list(tx.scan("user:")))
            ordered["user:1"] = 1


def test_a_decorated_function_is_a_transaction(db):
    @db.transactional
    def move(tx, a, b, n=1):
        """Moves."""
        tx[a] = tx.get(a, 0) - n
        tx[b] = tx.get(b, 0) + n
        return tx[b]

    assert move("a", "b", n=5) == 5 and db["a"] == -5
    assert move.__doc__ == "Moves."


# Expiry.


def test_a_key_is_gone_after_its_time(db):
    db.put("short", 1, ttl=60)
    db.put("long", 2, ttl=datetime.timedelta(hours=1))
    db.put("never", 3)
    assert db["short"] == 1
    assert 3500 < db.ttl("long") <= 3600 and db.ttl("never") is None
    db.expire("short", 0.02)
    wait_until(lambda: "short" not in db)
    assert "short" not in db and db.get("short") is None and len(db) == 2
    with pytest.raises(KeyError):
        db.ttl("short")
    assert sorted(db) == ["long", "never"]


def test_the_time_can_be_changed(db):
    db["a"] = 1
    assert db.expire("a", 100) and 99 < db.ttl("a") <= 100
    assert db.persist("a") and db.ttl("a") is None
    assert db.expire("a", 100) and db.expire("a", None) and db.ttl("a") is None
    assert not db.expire("none", 1) and not db.persist("none")
    assert db.expire("a", 0) and "a" not in db


def test_a_new_value_does_not_expire_but_a_sum_does(db):
    db.put("a", 1, ttl=100)
    db.incr("a")
    assert db.ttl("a") > 90
    db["a"] = 5
    assert db.ttl("a") is None


def test_time_in_batches(db):
    with db.batch() as batch:
        batch.put("a", 1, ttl=100)
    assert 90 < db.ttl("a") <= 100
    assert db.add("b", 1, ttl=50) and not db.add("b", 2)
    assert 40 < db.ttl("b") <= 50


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), 1e13])
def test_a_time_that_cannot_be_is_an_error(db, ttl):
    with pytest.raises(InvalidError, match="ttl"):
        db.put("a", 1, ttl=ttl)


@pytest.mark.parametrize("ttl", ["1", [], True])
def test_a_time_that_is_no_number_is_a_type_error(db, ttl):
    with pytest.raises(TypeError, match="ttl"):
        db.put("a", 1, ttl=ttl)


# Care.


def test_merge_gives_space_back(db):
    for n in range(20):
        db["k"] = "x" * 10_000 + str(n)
    before = db.stats()["bytes"]
    report = db.merge()
    assert report["reclaimed_bytes"] == report.reclaimed_bytes > 180_000
    assert db.stats()["bytes"] < before - 180_000 and db["k"].endswith("19")


def test_verify_finds_damage(path):
    with Bitcask(path, merge=False) as db:
        db.update((str(n), "x" * 100) for n in range(100))
        db.merge()
        assert db.verify().is_clean and db.verify()["records"] >= 100
    [data] = [file for file in path.iterdir() if file.stat().st_size > 5000]
    content = bytearray(data.read_bytes())
    content[3000] ^= 1
    data.write_bytes(content)
    with Bitcask(path, merge=False) as db:
        report = db.verify()
        assert not report.is_clean
        assert str(path) in report.damage[0]["path"] and report.damage[0]["start"] <= 3000
        lost = []
        for n in range(100):
            try:
                assert db[str(n)] == "x" * 100
            except bitcask.CorruptError as e:
                assert isinstance(e, OSError) and e.filename and e.offset is not None
                lost.append(n)
        assert len(lost) == 1
    report = bitcask.repair(path)
    assert not report.is_clean and report.records_saved >= 99
    with Bitcask(path) as db:
        assert len(db) == 99 and db.verify().is_clean


def test_a_checkpoint_is_a_store(db, tmp_path):
    db["a"] = "old"
    report = db.checkpoint(tmp_path / "backup")
    assert report["files_linked"] + report["files_copied"] > 0
    db["a"] = "new"
    with Bitcask(tmp_path / "backup") as copy:
        assert dict(copy) == {"a": "old"}
    db.checkpoint(str(tmp_path / "backup"))
    with Bitcask(tmp_path / "backup", read_only=True) as copy:
        assert copy["a"] == "new"
    with pytest.raises(ValueError):
        db.checkpoint(db.path)


def test_stats_are_a_dict_that_is_json(db):
    db["a"] = 1
    db["a"] = 2
    stats = db.stats()
    assert isinstance(stats, dict) and json.loads(json.dumps(stats)) == stats
    assert stats["keys"] == 1 and stats["puts"] == 2
    assert stats["live_bytes"] + stats["dead_bytes"] == stats["bytes"] > 0
    assert stats["dead_bytes"] > 0
    assert sum(file["bytes"] for file in stats["files"]) == stats["bytes"]
    assert stats.keys() >= {"keydir_bytes", "files", "snapshots", "syncs", "merges", "get_latency"}


def test_a_notebook_shows_stats_as_a_table(db):
    db["a"] = "x" * 5000
    db["a"] = 2
    html = db.stats()._repr_html_()
    stats = db.stats()
    assert html.startswith("<table>") and "live bytes" in html and "dead bytes" in html
    assert f"{stats['dead_bytes']:,}" in html and f"{stats['live_bytes']:,}" in html
    assert "1 keys" in html


# Options.


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "always"},
        {"durability": "os"},
        {"durability": 0.5},
        {"durability": None},
        {"durability": datetime.timedelta(milliseconds=20)},
        {"index": "ordered"},
        {"compression": "lz4"},
        {"compression": "zstd"},
        {"compression": ("zstd", 9)},
        {"io": "plain"},
        {"io": "auto"},
        {"memory_budget": 1 << 24},
        {"max_file_size": 1 << 20},
        {"verify_reads": False},
        {"merge": False},
        {"merge": {"dead_ratio_trigger": 0.5, "window_utc_hours": (22, 4), "check_interval": 10}},
    ],
)
def test_a_store_with_this_option_works(path, options):
    for _ in range(2):
        with Bitcask(path, **options) as db:
            db.put("k", "v" * 1000)
            assert db.get("k") == "v" * 1000


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "sometimes"},
        {"durability": 0.0001},
        {"index": "tree"},
        {"compression": "gzip"},
        {"compression": ("lz4", 3)},
        {"io": "fast"},
        {"max_file_size": 1},
        {"memory_budget": -1},
        {"merge": {"dead_ratio_trigger": 2.0}},
        {"merge": {"speed": 1}},
    ],
)
def test_an_option_that_cannot_be_is_named(path, options):
    with pytest.raises(InvalidError) as e:
        Bitcask(path, **options)
    assert next(iter(options)) in str(e.value)
    assert not path.exists()


@pytest.mark.parametrize("options", [{"durability": []}, {"nonsense": 1}, {"index": 1}, {"max_file_size": 1.5}, {"verify_reads": "x"}])
def test_an_option_of_another_type_is_a_type_error(path, options):
    with pytest.raises(TypeError):
        Bitcask(path, **options)


def test_compression_makes_it_smaller(tmp_path):
    sizes = {}
    for compression in (None, "lz4", "zstd"):
        with Bitcask(tmp_path / str(compression), compression=compression) as db:
            for n in range(100):
                db[str(n)] = ["the same words again and again"] * 50
            sizes[compression] = db.stats()["bytes"]
    assert sizes["lz4"] < sizes[None] / 3 and sizes["zstd"] < sizes[None] / 3


def test_a_memory_budget_refuses_new_keys(path):
    with Bitcask(path, memory_budget=1 << 20) as db:
        with pytest.raises(bitcask.FullError) as e:
            for n in range(1_000_000):
                db[str(n)] = n
        assert isinstance(e.value, OSError)
        db["0"] = "still changes"


def test_dbm_like_flags(tmp_path):
    path = str(tmp_path / "store")
    for flag in ("r", "w"):
        with pytest.raises(FileNotFoundError):
            bitcask.open(path, flag)
    with bitcask.open(path) as db:
        db["a"] = 1
    with bitcask.open(path, "c") as db:
        assert db["a"] == 1
    with bitcask.open(path, "w", 0o600, codec="json") as db:
        db["b"] = 2
    with bitcask.open(path, "r") as db:
        assert dict(db) == {"a": 1, "b": 2}
        with pytest.raises(bitcask.error):
            db["c"] = 3
    with bitcask.open(path, "n") as db:
        assert len(db) == 0
    with pytest.raises(ValueError):
        bitcask.open(path, "x")


def test_a_store_knows_itself(db, path):
    assert db.path == str(path) and db.codec == "json" and not db.read_only and not db.closed
    db["a"] = 1
    assert repr(db) == f"<Bitcask {str(path)!r}, codec='json', 1 keys>"
    db.close()
    assert repr(db) == f"<Bitcask {str(path)!r}, codec='json', closed>"


def test_a_relative_path_outlives_a_change_of_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Bitcask(b"store", max_file_size=1 << 16, merge=False) as db:
        assert db.path == str(tmp_path / "store")
        monkeypatch.chdir(tmp_path / "elsewhere")
        for n in range(100):
            db[str(n)] = "x" * 10_000
        db.merge()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with Bitcask(tmp_path / "store") as db:
        assert len(db) == 100


def test_big_values_are_not_gathered(db):
    def pairs():
        for n in range(6):
            yield str(n), "x" * 400_000
            assert len(db) >= n - 3

    db.update(pairs())
    assert len(db) == 6


def test_a_reader_makes_a_backup_beside_the_writer(db, path, tmp_path):
    db["a"] = 1
    with Bitcask.open_read_only(path) as reader:
        db["b"] = 2
        reader.checkpoint(tmp_path / "backup")
    with Bitcask(tmp_path / "backup") as copy:
        assert dict(copy) == {"a": 1, "b": 2}


def test_a_store_in_a_cycle_with_its_codec_is_collected(path):
    class Owner:
        def __init__(self):
            self.db = Bitcask(path, codec=(self.dumps, self.loads))

        def dumps(self, value):
            return repr(value).encode()

        def loads(self, data):
            return eval(data)

    owner = Owner()
    owner.db["a"] = 1
    assert owner.db["a"] == 1
    del owner
    gc.collect()
    with Bitcask(path, codec=(repr, eval)) as db:
        assert len(db) == 1


@pytest.mark.parametrize("index", ["hash", "ordered"])
def test_an_iteration_gives_all_before_damage(path, index):
    with Bitcask(path) as db:
        db.update((f"{n:03}", f"value {n:03}") for n in range(300))
    (data,) = path.glob("*.data")
    data.write_bytes(data.read_bytes().replace(b"value 200", b"value 2x0"))
    with Bitcask(path, index=index) as db:
        entries, seen = iter(db.items()), []
        with pytest.raises(bitcask.CorruptError):
            for key, _ in entries:
                seen.append(key)
        assert "200" not in seen and list(entries) == []
        if index == "ordered":
            assert seen == [f"{n:03}" for n in range(200)]


def test_what_was_ended_within_its_block_is_ended(db, tmp_path):
    with db.transaction() as tx:
        tx["a"] = 1
        tx.commit()
    with db.transaction() as tx:
        tx["a"] = 2
        tx.rollback()
    assert db["a"] == 1
    assert db.transaction(lambda tx: [tx.put("a", 3), tx.rollback()]) == [None, None]
    assert db.transaction(lambda tx: [tx.put("b", 3), tx.commit()]) == [None, None]
    with db.batch() as batch:
        batch.put("c", 1)
        batch.discard()
        assert repr(batch) == "<Batch, over>"
    assert dict(db) == {"a": 1, "b": 3}
    # But not what was ended by the end of the store.
    for name in ("batch", "transaction"):
        other = Bitcask(tmp_path / name)
        with pytest.raises(ClosedError):
            with getattr(other, name)() as changes:
                changes.put("d", 1)
                other.close()


def test_a_transaction_is_no_coroutine_and_no_generator(db):
    async def coroutine(tx):
        tx["a"] = 1

    def generator(tx):
        tx["a"] = 1
        yield

    for function in (coroutine, generator, lambda tx: coroutine(tx)):
        with pytest.raises(TypeError, match="ordinary function"):
            db.transaction(function)
        with pytest.raises(TypeError, match="ordinary function"):
            db.transactional(function)()
    with pytest.raises(TypeError, match="not iterable"):
        iter(db.transaction())
    assert len(db) == 0


def test_many_values_of_a_snapshot(db):
    db.update({"a": 1, "b": 2})
    with db.snapshot() as snapshot:
        db["a"] = 10
        assert snapshot.get_many(["b", "x", b"a"]) == [2, None, 1]
        assert snapshot.get_many([], 0) == [] and snapshot.get_many(["x"], 0) == [0]
        assert repr(snapshot) == "<Snapshot, 2 keys>"
    assert repr(snapshot) == "<Snapshot, over>"
    with pytest.raises(ClosedError):
        snapshot.get_many(["a"])
