"""Processes: readers beside a writer, forks, exits, and deaths."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from bitcask import Bitcask, ForkedError, LockedError

# Readers.


def test_a_reader_beside_a_writer_sees_what_it_refreshes(db, path):
    db["a"] = 1
    with Bitcask.open_read_only(path) as reader:
        assert reader.read_only and reader["a"] == 1
        db["a"], db["b"] = 2, 3
        assert dict(reader) == {"a": 1}
        reader.refresh()
        assert dict(reader) == {"a": 2, "b": 3}
        db.merge()
        del db["b"]
        reader.refresh()
        assert dict(reader) == {"a": 2}
    db.refresh()
    assert db["a"] == 2


def test_a_reader_in_another_process(db, path, python):
    db["a"] = {"n": 1}
    program = "import sys, bitcask; print(bitcask.open(sys.argv[1], 'r')['a'])"
    assert python(program, path) == "{'n': 1}\n"


def test_a_second_writer_is_refused_until_the_first_is_done(path, python):
    program = """
import sys
from bitcask import Bitcask, LockedError
try:
    Bitcask(sys.argv[1])
except LockedError:
    print("locked")
with Bitcask(sys.argv[1], timeout=30) as db:
    db["second"] = 1
"""
    with Bitcask(path) as db:
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "locked\n"
        db["first"] = 1
    child.communicate(timeout=60)
    assert child.returncode == 0
    with Bitcask(path) as db:
        assert sorted(db) == ["first", "second"]


# Forks.


def in_child(act):
    """Runs a function in a forked child, which exits by itself, and gives what it wrote."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reads)
            os.write(writes, repr(act()).encode())
        except BaseException as e:
            os.write(writes, f"failed: {e!r}".encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        told = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return told


def test_a_forked_child_is_told_that_the_store_is_not_its_own(db, path):
    db["a"] = 1
    entries, snapshot, batch, tx = iter(db.items()), db.snapshot(), db.batch(), db.transaction()
    batch.put("b", 1)
    tx.put("c", 1)

    def child():
        told = []
        for call in (
            lambda: db["a"],
            lambda: db.get("a"),
            lambda: db.put("a", 2),
            lambda: len(db),
            lambda: "a" in db,
            lambda: list(db),
            lambda: db.stats(),
            lambda: db.sync(),
            lambda: db.snapshot(),
            lambda: db.batch(),
            lambda: next(entries),
            lambda: snapshot["a"],
            lambda: batch.write(),
            lambda: tx.commit(),
        ):
            try:
                call()
                told.append("nothing")
            except ForkedError as e:
                told.append("forked" if "open it here" in str(e) else str(e))
        repr(db)
        for end in (db.close, snapshot.close, tx.rollback, entries.close, batch.discard):
            end()
        with Bitcask(path, read_only=True) as reader:
            told.append(reader["a"])
        return set(told)

    assert eval(in_child(child)) == {"forked", 1}
    db["a"] = 2
    assert snapshot["a"] == 1 and next(entries) == ("a", 1)
    batch.write()
    tx.commit()
    assert dict(db) == {"a": 2, "b": 1, "c": 1}


def test_a_child_that_drops_what_it_inherited_touches_nothing(path):
    db = Bitcask(path)
    db["a"] = 1
    held = [db.snapshot(), iter(db.items()), db.transaction(), db.batch()]
    holds = {"db": db}

    def child():
        nonlocal db
        del db, held[:]
        holds.clear()
        return "dropped"

    assert in_child(child) == "'dropped'"
    db["b"] = 2
    held.clear()
    assert dict(db) == {"a": 1, "b": 2}
    db.close()
    with Bitcask(path) as db:
        assert dict(db) == {"a": 1, "b": 2} and db.verify().is_clean


def test_a_child_that_exits_as_python_does_touches_nothing(path, python):
    program = """
import os, sys
from bitcask import Bitcask
db = Bitcask(sys.argv[1])
db["a"] = 1
snapshot = db.snapshot()
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
db["b"] = snapshot["a"]
print(sorted(db.items()))
"""
    assert python("import warnings; warnings.simplefilter('ignore')\n" + program, path) == (
        "[('a', 1), ('b', 1)]\n"
    )
    with Bitcask(path) as db:
        assert dict(db) == {"a": 1, "b": 1}


def test_a_child_can_open_stores_of_its_own(db, tmp_path):
    def child():
        with Bitcask(tmp_path / "own") as own:
            own.update((str(n), n) for n in range(100))
            own.merge()
            return len(own)

    assert in_child(child) == "100"
    with Bitcask(tmp_path / "own") as own:
        assert len(own) == 100


def test_a_child_that_lives_on_keeps_nobody_out(path):
    db = Bitcask(path)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writes)
        os.read(reads, 1)
        os._exit(0)
    db.close()
    with Bitcask(path) as db:
        db["a"] = 1
    os.close(writes)
    os.close(reads)
    os.waitpid(pid, 0)


def _square_sum(path):
    with Bitcask(path, read_only=True) as db:
        return sum(value**2 for value in db.values())


def test_a_pool_of_forked_workers(db, path):
    db.update((str(n), n) for n in range(10))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_square_sum, [str(path)] * 4) == [285] * 4
    db["still"] = 1


# Exits.


@pytest.mark.parametrize(
    "last",
    [
        "",
        "sys.exit(0)",
        "import gc; gc.disable(); db.self = db",
        "keys = iter(db); next(keys); snapshot = db.snapshot(); batch = db.batch(); batch.put('x', 1)",
        "tx = db.transaction(); tx.put('x', 1)",
        "import atexit; atexit.register(lambda: db.put('a', 1))",
        "import builtins; builtins.db = db",
        "import threading; threading.Thread(target=lambda: db.put('a', 1)).start()",
    ],
)
def test_an_interpreter_that_exits_closes_its_stores(path, python, last):
    program = f"""
import sys
from bitcask import Bitcask
db = Bitcask(sys.argv[1], durability="os")
for n in range(100):
    db[str(n)] = n
db["a"] = 1
{last}
"""
    python(program, path)
    with Bitcask(path) as db:
        assert len(db) == 101 and db["a"] == 1 and "x" not in db


def test_daemon_threads_in_calls_do_not_keep_an_interpreter(path, python):
    program = """
import sys, threading, time
from bitcask import Bitcask
db = Bitcask(sys.argv[1], durability="always")
def work(n):
    try:
        while True:
            db[f"{n}"] = list(range(100)); list(db.items()); db.merge()
    except Exception:
        pass
for n in range(4):
    threading.Thread(target=work, args=(n,), daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(3):
        python(program, path)
    with Bitcask(path) as db:
        assert len(db) == 4 and db.verify().is_clean


def test_ctrl_c_ends_a_merge(path, python):
    program = """
import signal, sys, _thread, threading
from bitcask import Bitcask
# Whoever started the tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
db = Bitcask(sys.argv[1], durability="os", max_file_size=1 << 20, merge=False)
for n in range(3000):
    db[str(n % 1500)] = "x" * 5000
threading.Timer(0.02, _thread.interrupt_main).start()
try:
    while True:
        db.merge()
        for n in range(300):
            db[str(n)] = "y" * 5000
except KeyboardInterrupt:
    print(len(db))
"""
    assert python(program, path) == "1500\n"


def test_the_handler_of_a_signal_may_close_the_store_that_is_merging(path, python):
    program = """
import signal, sys
from bitcask import Bitcask, ClosedError
slow = {"background": False, "rate_bytes_per_second": 1 << 20}
db = Bitcask(sys.argv[1], durability="os", merge=slow)
for n in range(4000):
    db[str(n % 2000)] = "x" * 5000
signal.signal(signal.SIGALRM, lambda *_: db.close())
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    db.merge()
except ClosedError:
    print("closed")
"""
    assert python(program, path) == "closed\n"
    with Bitcask(path) as db:
        assert len(db) == 2000 and db.verify().is_clean


def test_a_hook_that_runs_before_ours_in_a_forked_child_cannot_write(path, python):
    program = """
import os, sys
def hook():
    for act in (lambda: db.put("child", 1), tx.commit, db.merge, lambda: db.checkpoint("backup")):
        try:
            act()
        except Exception as e:
            print(type(e).__name__, flush=True)
os.register_at_fork(after_in_child=hook)
from bitcask import Bitcask
db = Bitcask(sys.argv[1])
tx = db.transaction()
tx["child"] = 1
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(dict(db))
"""
    assert python(program, path) == "ForkedError\n" * 4 + "{}\n"


def test_the_asyncio_store_of_the_parent_is_an_error_in_a_forked_child(path, python):
    program = """
import asyncio, os, sys
from bitcask import ForkedError, aio
async def opened():
    db = await aio.Bitcask(sys.argv[1])
    await db.put("a", 1)
    return db
async def opens(db):
    async with db:
        return await db.get("a")
db = asyncio.run(opened())
early = aio.Bitcask(sys.argv[1], read_only=True)
child = os.fork()
if child == 0:
    # What was only made there can be opened here.
    assert asyncio.run(opens(early)) == 1
    try:
        asyncio.run(asyncio.wait_for(db.get("a"), 20))
    except ForkedError:
        asyncio.run(db.close())
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(asyncio.run(db.get("a")))
asyncio.run(db.close())
"""
    assert python(program, path) == "1\n"


# Deaths.

WRITER = """
import sys
from bitcask import Bitcask
db = Bitcask(sys.argv[1], durability=sys.argv[2], max_file_size=1 << 20)
n = 0
while True:
    db[str(n)] = {"n": n, "text": "x" * 300}
    with db.batch() as batch:
        batch.put("left", n)
        batch.put("right", -n)
    print(n, flush=True)
    n += 1
"""


@pytest.mark.parametrize("durability", ["always", "os"])
def test_what_a_killed_process_had_acknowledged_is_there(path, durability):
    # The page cache outlives the process, so it is all there at either level.
    before = 0
    for seconds in (0.1, 0.3, 0.5):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), durability], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        told = child.communicate(timeout=60)[0].split("\n")
        # The last line may be half a number.
        acknowledged = int(told[-2]) if len(told) > 1 else 0
        with Bitcask(path) as db:
            numbers = sorted(int(key) for key in db if key not in ("left", "right"))
            assert numbers == list(range(len(numbers))), "a hole"
            assert len(numbers) > acknowledged
            assert all(db[str(n)]["n"] == n for n in numbers)
            assert db["left"] == -db["right"], "half a batch"
            assert db.verify().is_clean
            before += len(numbers)
            db.clear()
    assert before > 3


def test_a_lock_dies_with_its_process(path):
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "os"], stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    with pytest.raises(LockedError):
        Bitcask(path)
    child.kill()
    child.communicate(timeout=60)
    Bitcask(path).close()
