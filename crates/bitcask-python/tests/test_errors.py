"""Exceptions: their classes, what they tell, and closing."""

import copy
import errno
import gc
import io
import pickle
import weakref

import pytest

import bitcask
from bitcask import Bitcask, ClosedError, ReadOnlyError, errors


def test_each_derives_from_error_and_from_a_builtin():
    for name in errors.__all__:
        cls = getattr(errors, name)
        assert issubclass(cls, errors.Error) and cls.__doc__, name
        assert getattr(bitcask, name) is cls
        if cls is errors.Error:
            continue
        builtins = {base for base in cls.__mro__ if base.__module__ in ("builtins", "io")}
        assert builtins > set(errors.Error.__mro__) - {errors.Error}, name


@pytest.mark.parametrize(
    "kind, classes",
    [
        ("Invalid", (errors.InvalidError, ValueError)),
        ("Locked", (errors.LockedError, BlockingIOError, TimeoutError)),
        ("Unsupported", (errors.UnsupportedError, NotImplementedError)),
        ("Corrupt", (errors.CorruptError, OSError)),
        ("Io", (errors.IoError, OSError)),
        ("Poisoned", (errors.PoisonedError, OSError)),
        ("Full", (errors.FullError, OSError)),
        ("Conflict", (errors.ConflictError, TimeoutError)),
        ("Gone", (errors.GoneError, LookupError)),
    ],
)
def test_every_kind_of_the_engine_has_its_class(kind, classes):
    made = errors.of_engine(kind, "it failed: /a/b", "why", errno.ENOSPC, "/a/b", 7, b"k", "do this")
    assert all(isinstance(made, cls) for cls in classes)
    assert (made.path, made.offset, made.key) == ("/a/b", 7, b"k")
    assert "it failed" in str(made) and "why" in str(made) and str(made).count("/a/b") == 1
    if isinstance(made, OSError):
        assert made.errno == errno.ENOSPC and made.filename == "/a/b"


def test_a_store_that_is_in_use_is_told(db, path):
    for cls in (BlockingIOError, TimeoutError, bitcask.LockedError):
        with pytest.raises(cls) as e:
            Bitcask(path)
    assert str(path) in str(e.value) and e.value.advice
    with pytest.raises(TimeoutError):
        Bitcask(path, timeout=0.1)


def test_a_store_that_is_not_there_is_told(tmp_path):
    for options in ({"create": False}, {"read_only": True}):
        for path in (tmp_path / "nothing", tmp_path):
            with pytest.raises(FileNotFoundError) as e:
                Bitcask(path, **options)
            assert e.value.errno == errno.ENOENT and e.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(bitcask.NoStoreError):
        bitcask.destroy(tmp_path / "nothing")


def test_a_store_that_is_there_is_told(path):
    with Bitcask(path, must_be_new=True) as db:
        db["a"] = 1
    with pytest.raises(FileExistsError):
        Bitcask(path, must_be_new=True)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(bitcask.InvalidError, match="not a directory"):
        Bitcask(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"


def test_closing_is_idempotent_and_final(path):
    db = Bitcask(path)
    db["a"] = 1
    entries, snapshot, batch, tx = iter(db.items()), db.snapshot(), db.batch(), db.transaction()
    scan = db.scan("a")
    batch.put("b", 2)
    for _ in range(3):
        db.close()
    assert db.closed and snapshot.closed
    for call in (
        lambda: db["a"],
        lambda: db.get("a"),
        lambda: db.put("a", 1),
        lambda: db.delete("a"),
        lambda: "a" in db,
        lambda: len(db),
        lambda: list(db),
        lambda: list(db.items()),
        lambda: db.get_many(["a"]),
        lambda: db.incr("n"),
        lambda: db.ttl("a"),
        lambda: db.expire("a", 1),
        lambda: db.pop("a"),
        lambda: db.pop("a", None),
        lambda: db.setdefault("a", 1),
        lambda: db.update(a=1),
        lambda: db.clear(),
        lambda: db.scan("a"),
        lambda: db.merge(),
        lambda: db.sync(),
        lambda: db.stats(),
        lambda: db.verify(),
        lambda: db.refresh(),
        lambda: db.checkpoint(str(path) + "-backup"),
        lambda: db.snapshot(),
        lambda: db.batch(),
        lambda: db.transaction(),
        lambda: db.transaction(lambda tx: None),
        lambda: db.__enter__(),
        lambda: next(entries),
        lambda: next(scan),
        lambda: snapshot["a"],
        lambda: list(snapshot),
        lambda: batch.write(),
        lambda: batch.put("a", 1),
        lambda: tx["a"],
        lambda: tx.put("a", 1),
        lambda: tx.commit(),
    ):
        with pytest.raises(ClosedError) as e:
            call()
        assert isinstance(e.value, ValueError)
    for end in (snapshot.close, tx.rollback, batch.discard, entries.close):
        end()
    with Bitcask(path) as db:
        assert dict(db) == {"a": 1}


def test_a_reader_that_is_closed_is_told_too(path):
    Bitcask(path).close()
    reader = Bitcask(path, read_only=True)
    snapshot, keys = reader.snapshot(), iter(reader)
    reader.close()
    for call in (reader.refresh, reader.stats, lambda: snapshot["a"], lambda: next(keys)):
        with pytest.raises(ClosedError):
            call()


def test_a_block_closes_even_if_it_raises(path):
    with pytest.raises(ZeroDivisionError):
        with Bitcask(path) as db:
            1 / 0
    assert db.closed


def test_a_store_that_is_dropped_is_closed(path):
    db = Bitcask(path)
    db["a"] = 1
    gone = weakref.ref(db)
    del db
    gc.collect()
    assert gone() is None
    with Bitcask(path) as db:
        assert db["a"] == 1


def test_an_iterator_keeps_the_store_open(path):
    db = Bitcask(path)
    db.update((str(n), n) for n in range(1000))
    values = iter(db.values())
    del db
    gc.collect()
    assert sorted(values) == list(range(1000))


def test_who_reads_only_cannot_write(path):
    with Bitcask(path) as db:
        db["a"] = 1
    with Bitcask(path, read_only=True) as db:
        for call in (
            lambda: db.put("a", 1),
            lambda: db.delete("a"),
            lambda: db.pop("a"),
            lambda: db.incr("a"),
            lambda: db.expire("a", 1),
            lambda: db.update(a=1),
            lambda: db.clear(),
            lambda: db.popitem(),
            lambda: db.batch(),
            lambda: db.transaction(),
            lambda: db.merge(),
            lambda: db.sync(),
        ):
            with pytest.raises(ReadOnlyError) as e:
                call()
            assert isinstance(e.value, (io.UnsupportedOperation, OSError))
        assert db["a"] == 1 and db.verify().is_clean and db.stats()["keys"] == 1


def test_a_store_cannot_be_pickled_or_copied(db):
    for copies in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="open it there"):
            copies(db)


def test_messages_without_a_path_and_advice_in_the_words_of_python(db, path):
    made = errors.of_engine("Conflict", "others were faster", None, None, None, None, b"k", "again")
    assert str(made) == "[Errno 11] others were faster" and made.errno == errno.EAGAIN
    assert made.advice == "again"
    with pytest.raises(bitcask.LockedError) as e:
        Bitcask(path)
    assert "of this process" in e.value.advice
    with pytest.raises(bitcask.NoStoreError) as e:
        Bitcask(path / "nothing", create=False)
    assert "create" in e.value.advice
    with pytest.raises(bitcask.KeyNotFoundError) as e:
        db["k\u00e9y"]
    assert e.value.key == "k\u00e9y".encode() and e.value.args == ("k\u00e9y",)
    with pytest.raises(bitcask.EncodeError, match="only as the whole value") as e:
        db["k"] = {"a": b"x"}
    assert "codec=" in e.value.advice
    with pytest.raises(bitcask.KeyNotFoundError):
        db.popitem()


def test_an_empty_path_is_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Bitcask("db") as db:
        for call in (Bitcask, bitcask.destroy, bitcask.repair, db.checkpoint):
            with pytest.raises(bitcask.InvalidError, match="empty"):
                call("")
    assert [found.name for found in tmp_path.iterdir()] == ["db"]
