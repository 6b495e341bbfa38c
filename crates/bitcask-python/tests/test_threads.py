"""Threads: many on one store, and a store that is closed under them."""

import sys
import threading
import time

import pytest
from conftest import run_all

from bitcask import Bitcask, ClosedError


@pytest.fixture(autouse=True)
def switches_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_no_write_of_any_thread_is_lost(db):
    def write(name):
        for n in range(500):
            db[f"{name}-{n}"] = {"n": n}
            assert db[f"{name}-{n}"]["n"] == n

    run_all(*(lambda name=name: write(name) for name in range(8)))
    assert len(db) == 4000


def test_sums_are_atomic(db):
    run_all(*[lambda: [db.incr("n") for _ in range(500)]] * 8)
    assert db["n"] == 4000


def test_sums_by_other_codecs_are_atomic(path):
    with Bitcask(path, codec="pickle") as db:
        run_all(*[lambda: [db.incr("n") for _ in range(300)]] * 4)
        assert db["n"] == 1200


def test_transactions_of_many_threads_are_as_if_one_after_the_other(db):
    db.update(a=1000, b=0)

    def move(tx):
        tx["a"] -= 1
        tx["b"] += 1
        assert tx["a"] + tx["b"] == 1000

    run_all(*[lambda: [db.transaction(move, retries=10_000) for _ in range(50)]] * 4)
    assert (db["a"], db["b"]) == (800, 200)


def test_every_value_is_popped_once(db):
    db.update((str(n), n) for n in range(400))
    popped = []
    run_all(*[lambda: [popped.append(db.popitem()[1]) for _ in range(100)]] * 4)
    assert sorted(popped) == list(range(400)) and len(db) == 0


def test_setdefault_has_one_winner(db):
    got = []
    run_all(*[lambda n=n: got.append(db.setdefault("k", n)) for n in range(16)])
    assert set(got) == {db["k"]}


def test_one_iterator_can_serve_many_threads(db):
    db.update((str(n), n) for n in range(5000))
    values, seen = iter(db.values()), []
    run_all(*[lambda: seen.extend(values)] * 8)
    assert sorted(seen) == list(range(5000))


def test_closing_under_threads_ends_them_in_order(path):
    for _ in range(5):
        db = Bitcask(path)
        db.update((str(n), n) for n in range(1000))
        started = threading.Barrier(8)

        def until_closed(act):
            started.wait()
            with pytest.raises(ClosedError):
                while True:
                    act()

        def close():
            started.wait()
            time.sleep(0.02)
            db.close()

        run_all(
            lambda: until_closed(lambda: db.put("k", "v")),
            lambda: until_closed(lambda: db.get("1")),
            lambda: until_closed(lambda: list(db.items())),
            lambda: until_closed(lambda: db.snapshot().get("1")),
            lambda: until_closed(lambda: db.merge()),
            lambda: until_closed(lambda: db.transaction(lambda tx: tx.put("n", tx.get("n")))),
            lambda: until_closed(lambda: db.incr("count")),
            close,
        )


def test_writers_that_wait_together_share_a_sync(path):
    # They could not if one that waits for the disk held the interpreter's lock.
    with Bitcask(path, durability="always") as db:
        run_all(*[lambda n=n: [db.put(f"{n}-{i}", i) for i in range(50)] for n in range(8)])
        assert len(db) == 400
        assert db.stats()["syncs"] < 400


def test_who_closes_it_once_more_returns_when_it_is_closed(path):
    for _ in range(30):
        db = Bitcask(path)
        db["a"] = 1

        def close_and_open():
            db.close()
            Bitcask(path).close()

        run_all(db.close, close_and_open)
