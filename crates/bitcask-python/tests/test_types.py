"""Types: a program that uses all of it checks, one that misuses it does not, and the stubs are those of the extension."""

import subprocess
import sys

GOOD = """
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Iterator, MutableMapping

import bitcask
from bitcask import Bitcask, ConflictError, Key, Snapshot, Stats, Transaction, aio


def names(db: MutableMapping[str, Any]) -> list[Key]:
    return [name.upper() for name in db]


def count(tx: Transaction) -> int:
    tx["n"] = tx.get("n", 0) + 1
    return 1


with Bitcask("a", codec="json", index="ordered", durability="always", compression=("zstd", 3)) as db:
    db.put("k", {"a": 1}, ttl=timedelta(seconds=1))
    value: Any = db.get(b"k", 0)
    gone: bool = db.delete("k")
    left: float | None = db.ttl("k")
    total: int = db.incr("n", by=2)
    snapshot: Snapshot = db.snapshot()
    scanned: Iterator[tuple[Key, Any]] = snapshot.scan("a", start="b", reverse=True, limit=1)
    with db.batch() as batch:
        batch.put("a", 1)
        batch["b"] = 2
    done: int = db.transaction(count, retries=3)
    with db.transaction() as tx:
        tx.delete("a")
    stats: Stats = db.stats()
    names(db)
    for key, item in db.items():
        print(key + "!", key.split(":"), item)

pair = Bitcask("b", codec=(lambda value: b"", lambda data: None), read_only=True)
try:
    bitcask.open("c", "r").refresh()
except (ConflictError, bitcask.errors.LockedError) as e:
    print(e.path, e.advice)


async def main() -> int:
    async with aio.Bitcask("d") as adb:
        await adb.put("a", 1)
        async for akey, avalue in adb.items():
            print(akey, avalue)
        result: int = await adb.transaction(count)
        return result


asyncio.run(main())
"""

BAD = """
from bitcask import Bitcask

db = Bitcask("a", codec=1)
db.put(1, "value")
db.put("key")
db.delete("k", "v")
db.ttl("k") + 1
db.snapshot()["a"] = 1
db.no_such_method()
Bitcask("a", no_such_option=1)
"""


def mypy(*args, cwd):
    command = [sys.executable, "-m", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_a_good_program_checks_and_a_bad_one_does_not(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    ran = mypy("mypy", "--strict", "good.py", "bad.py", cwd=tmp_path)
    lines = [line for line in ran.stdout.splitlines() if ": error:" in line]
    assert not [line for line in lines if not line.startswith("bad.py")], ran.stdout
    wrong = {int(line.split(":")[1]) for line in lines}
    assert wrong == set(range(4, 12)), ran.stdout


def test_the_package_itself_checks(tmp_path):
    ran = mypy("mypy", "--strict", "-p", "bitcask", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_stubs_are_those_of_the_extension(tmp_path):
    ran = mypy("mypy.stubtest", "bitcask._bitcask", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
