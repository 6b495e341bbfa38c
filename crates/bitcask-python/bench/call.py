"""What one call costs: a get and a put of a document of 200 bytes beside `json.loads` and `json.dumps` of it.

    python bench/call.py
"""

import json
import statistics
import tempfile
import timeit

from bitcask import Bitcask
from compare import document

CALLS = 20_000
ROUNDS = 15


def main():
    value = document(7)
    text = json.dumps(value, separators=(",", ":"))
    data = text.encode()
    with tempfile.TemporaryDirectory() as top, Bitcask(top + "/json") as db, Bitcask(
        top + "/raw", codec="raw"
    ) as raw:
        for n in range(10_000):
            db[f"user:{n:08}"] = value
            raw[f"user:{n:08}"] = data
        snapshot = db.snapshot()
        calls = {
            "json.loads of its text": lambda: json.loads(text),
            "get": lambda: db.get("user:00000777"),
            "db[key]": lambda: db["user:00000777"],
            "get from a snapshot": lambda: snapshot.get("user:00000777"),
            "get, raw": lambda: raw.get("user:00000777"),
            "key in db": lambda: "user:00000777" in db,
            "json.dumps": lambda: json.dumps(value),
            "put": lambda: db.put("user:00000777", value),
            "put, raw": lambda: raw.put("user:00000777", data),
        }
        times = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name].append(timeit.timeit(call, number=CALLS) / CALLS * 1e6)
        print(f"a document of {len(data)} bytes, microseconds a call, medians of {ROUNDS}\n")
        print("| call | us |\n|---|---:|")
        for name, found in times.items():
            print(f"| {name} | {statistics.median(found):.2f} |")


if __name__ == "__main__":
    main()
