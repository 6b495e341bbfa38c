"""Puts, gets and memory of this package beside others that keep key-value pairs in files.

    pip install diskcache lmdb rocksdict plyvel msgpack    # as far as they install
    python bench/compare.py                                # 100,000 and 1,000,000 documents
    python bench/compare.py --keys 10000 --rounds 1        # a quick look

Each run is a process of its own. The rounds are interleaved: all engines once, then all again; the table has medians, and
the ratio of this package to the other in the same round. Documents are JSON of some 200 bytes; keys are put in the order
of their numbers and read at random. Nobody is asked to wait for the disk at each put, as far as that can be asked.
The whole of a run is bounded by --seconds a phase: who does not get through is measured on what it did.

Memory is what the process has beyond its start (RssAnon: without mapped files), once a store of all keys is open and a
tenth of them was read, in bytes a key.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCUMENTS = 1000
CITIES = ["Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Wellington"]


def document(n):
    """A JSON document of some 200 bytes."""
    chance = random.Random(n)
    return {
        "id": n,
        "name": f"user {chance.randrange(10**6)}",
        "email": f"user{chance.randrange(10**6)}@example.org",
        "city": chance.choice(CITIES),
        "score": round(chance.random() * 100, 3),
        "active": chance.random() < 0.5,
        "tags": [f"tag{chance.randrange(100)}" for _ in range(4)],
        "note": f"{chance.getrandbits(160):040x}",
    }


class Engine:
    """One way to keep values. `put` and `get` take and give documents, or bytes."""

    module = "bitcask"
    values = "json"

    def __init__(self, path):
        self.open(path)

    def flush(self):
        pass

    def close(self):
        self.db.close()


class Ours(Engine):
    name = "bitcask"
    codec = "json"

    def open(self, path):
        from bitcask import Bitcask

        self.db = Bitcask(path, codec=self.codec)
        self.put, self.get = self.db.put, self.db.get


class OurPickle(Ours):
    name = "bitcask, pickle"
    values = codec = "pickle"


class OurBytes(Ours):
    name = "bitcask, raw"
    values = "bytes"
    codec = "raw"


class DiskCache(Engine):
    """Strings of JSON, because its own default for dicts is pickle."""

    name = module = "diskcache"

    def open(self, path):
        import diskcache

        self.db = diskcache.Cache(path, eviction_policy="none", size_limit=1 << 40)

    def put(self, key, value):
        self.db.set(key, json.dumps(value))

    def get(self, key):
        return json.loads(self.db.get(key))


class Shelve(Engine):
    name = module = "shelve"
    values = "pickle"

    def open(self, path):
        import shelve

        os.makedirs(path, exist_ok=True)
        self.db = shelve.open(os.path.join(path, "shelf"))
        self.put, self.get = self.db.__setitem__, self.db.__getitem__


class DbmSqlite(Engine):
    name = module = "dbm.sqlite3"

    def open(self, path):
        import dbm.sqlite3

        os.makedirs(path, exist_ok=True)
        self.db = dbm.sqlite3.open(os.path.join(path, "db"), "c")

    def put(self, key, value):
        self.db[key] = json.dumps(value)

    def get(self, key):
        return json.loads(self.db[key])


class Lmdb(Engine):
    """A transaction a put, as everybody else has; without syncs."""

    name = module = "lmdb"
    values = "bytes"

    def open(self, path):
        import lmdb

        self.db = lmdb.open(path, map_size=1 << 34, sync=False, metasync=False)

    def put(self, key, value):
        with self.db.begin(write=True) as tx:
            tx.put(key.encode(), value)

    def get(self, key):
        with self.db.begin() as tx:
            return tx.get(key.encode())


class OurBatches(OurBytes):
    name = "bitcask, raw, batches"
    values = "bytes, 1,000 at a time"

    def open(self, path):
        super().open(path)
        self.batch, self.count = self.db.batch(), 0
        self.put = self.add

    def add(self, key, value):
        self.batch.put(key, value)
        self.count += 1
        if self.count == 1000:
            self.flush()

    def flush(self):
        self.batch.write()
        self.count = 0


class LmdbBatches(Engine):
    """As LMDB is fastest: many puts a transaction, and one transaction for all gets."""

    name = "lmdb, transactions"
    module = "lmdb"
    values = "bytes, 1,000 at a time"

    def open(self, path):
        import lmdb

        self.db = lmdb.open(path, map_size=1 << 34, sync=False, metasync=False)
        self.tx = self.count = None

    def put(self, key, value):
        if not self.tx:
            self.tx, self.count = self.db.begin(write=True), 0
        self.tx.put(key.encode(), value)
        self.count += 1
        if self.count == 1000:
            self.flush()

    def flush(self):
        if self.tx:
            self.tx.commit()
        self.tx = None

    def get(self, key):
        if not self.tx:
            self.tx = self.db.begin()
        return self.tx.get(key.encode())

    def close(self):
        self.flush()
        self.db.close()


class RocksDict(Engine):
    name = module = "rocksdict"
    values = "bytes"

    def open(self, path):
        from rocksdict import Options, Rdict

        self.db = Rdict(path, Options(raw_mode=True))

    def put(self, key, value):
        self.db[key.encode()] = value

    def get(self, key):
        return self.db[key.encode()]


class Plyvel(Engine):
    name = module = "plyvel"
    values = "bytes"

    def open(self, path):
        import plyvel

        self.db = plyvel.DB(path, create_if_missing=True)

    def put(self, key, value):
        self.db.put(key.encode(), value)

    def get(self, key):
        return self.db.get(key.encode())


ENGINES = [
    Ours,
    DiskCache,
    DbmSqlite,
    OurPickle,
    Shelve,
    OurBytes,
    Lmdb,
    RocksDict,
    Plyvel,
    OurBatches,
    LmdbBatches,
]
OURS = {ours.values: ours.name for ours in (Ours, OurPickle, OurBytes, OurBatches)}


def anonymous_memory():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise SystemExit("no RssAnon in /proc/self/status: this runs on Linux")


def rate(act, count, seconds):
    """Calls a second, and how many there were."""
    until = time.perf_counter() + seconds
    began = time.perf_counter()
    done = 0
    while done < count:
        upto = min(done + 1000, count)
        for n in range(done, upto):
            act(n)
        done = upto
        if time.perf_counter() > until:
            break
    return done / (time.perf_counter() - began), done


def run_speed(engine, path, count, seconds):
    """Puts and gets in this process."""
    documents = [document(n) for n in range(DOCUMENTS)]
    if engine.values.startswith("bytes"):
        documents = [json.dumps(value).encode() for value in documents]
    keys = [f"user:{n:08}" for n in range(count)]
    db = engine(path)
    put, get = db.put, db.get
    gc.collect()
    gc.disable()
    puts, stored = rate(lambda n: put(keys[n], documents[n % DOCUMENTS]), count, seconds)
    db.flush()
    order = [keys[n] for n in random.Random(1).sample(range(stored), stored)]
    assert get(keys[stored - 1]) == documents[(stored - 1) % DOCUMENTS]
    gets, _ = rate(lambda n: get(order[n]), stored, seconds)
    db.close()
    return {"puts": puts, "gets": gets, "stored": stored}


def run_memory(engine, path, stored):
    """Memory of a process that opens what another has written."""
    importlib.import_module(engine.module)
    gc.collect()
    before = anonymous_memory()
    db = engine(path)
    for n in range(0, stored, 10):
        db.get(f"user:{n:08}")
    gc.collect()
    memory = anonymous_memory() - before
    db.close()
    return {"memory": memory / stored}


def in_process(*args):
    command = [sys.executable, __file__, "--run", *map(str, args)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(engine, count, seconds, scratch):
    with tempfile.TemporaryDirectory(dir=scratch) as top:
        path = os.path.join(top, "db")
        found = in_process("speed", engine.name, path, count, seconds)
        found.update(in_process("memory", engine.name, path, found["stored"], seconds))
    return found


def available():
    engines = []
    for engine in ENGINES:
        try:
            importlib.import_module(engine.module)
            engines.append(engine)
        except ImportError as e:
            print(f"without {engine.name}: {e}", file=sys.stderr)
    return engines


def report(count, engines, rounds):
    """A table of medians, and of the ratios of ours to each other within a round."""
    print(f"\n### {count:,} documents\n")
    print("| | values | puts/s | ours | gets/s | ours | bytes of memory a key |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for engine in engines:
        own = [found[engine.name] for found in rounds]
        ours = [found[OURS[engine.values]] for found in rounds]
        cells = [engine.name, engine.values]
        for what in ("puts", "gets"):
            cells.append(f"{statistics.median(found[what] for found in own):,.0f}")
            ratios = [a[what] / b[what] for a, b in zip(ours, own)]
            cells.append("" if own == ours else f"{statistics.median(ratios):.2f}x")
        cells.append(f"{statistics.median(found['memory'] for found in own):.0f}")
        stored = min(found["stored"] for found in own)
        if stored < count:
            cells[0] += f" ({stored:,} of them)"
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a phase, at most")
    parser.add_argument("--only", nargs="+", help="names of engines")
    parser.add_argument("--scratch", type=Path, help="where stores are made and removed")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        what, name, path, count, seconds = args.run
        engine = next(engine for engine in ENGINES if engine.name == name)
        if what == "speed":
            found = run_speed(engine, path, int(count), float(seconds))
        else:
            found = run_memory(engine, path, int(count))
        print(json.dumps(found))
        return
    engines = [engine for engine in available() if not args.only or engine.name in args.only]
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, medians of {args.rounds} rounds")
    for count in args.keys:
        rounds = []
        for number in range(args.rounds):
            # Whoever comes first in one round comes last in the next.
            order = engines if number % 2 == 0 else engines[::-1]
            found = {}
            for engine in order:
                print(f"{count:,} keys, round {number + 1}: {engine.name}", file=sys.stderr)
                found[engine.name] = measure(engine, count, args.seconds, args.scratch)
            rounds.append(found)
        report(count, engines, rounds)


if __name__ == "__main__":
    main()
