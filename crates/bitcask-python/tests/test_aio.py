"""The store for asyncio."""

import asyncio
import threading

import pytest

from bitcask import Bitcask, ClosedError, ConflictError, DecodeError, EncodeError, aio


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


def test_the_calls_are_those_of_the_store(path):
    async def main():
        async with aio.Bitcask(path, index="ordered") as db:
            await db.put("a", {"n": 1})
            assert await db.get("a") == {"n": 1} and await db.get("x", 0) == 0
            await db.update({"b": 2, "c": 3})
            assert await db.count() == 3 and await db.contains("b") and not await db.contains("x")
            assert await db.delete("c") and not await db.delete("c")
            assert [await db.incr("n"), await db.incr("n", 2)] == [1, 3]
            assert await db.pop("n") == 3 and await db.pop("n", None) is None
            assert await db.setdefault("d", 4) == 4 and await db.add("d", 5) is False
            assert await db.get_many(["a", "d", "x"]) == [{"n": 1}, 4, None]
            assert await db.expire("d", 50) and 40 < await db.ttl("d") <= 50
            assert await db.persist("d") and await db.ttl("d") is None
            assert (await db.stats())["keys"] == 3
            assert (await db.verify()).is_clean
            await db.sync()
            await db.merge()
            await db.refresh()
            await db.checkpoint(str(path) + "-backup")
            await db.clear()
            assert await db.count() == 0
        assert db.closed

    run(main())


def test_iteration_goes_over_a_snapshot(path):
    async def main():
        async with aio.Bitcask(path, index="ordered") as db:
            await db.update((f"{n:04}", n) for n in range(1000))
            assert [key async for key in db] == [f"{n:04}" for n in range(1000)]
            assert [n async for n in db.values()] == list(range(1000))
            assert [item async for item in db.scan("000", limit=2)] == [("0000", 0), ("0001", 1)]
            seen = 0
            async for key, _ in db.items():
                await db.delete(key)
                seen += 1
            assert seen == 1000 and await db.count() == 0

    run(main())


def test_snapshots_batches_and_transactions(path):
    async def main():
        async with aio.Bitcask(path) as db:
            async with db.batch() as batch:
                batch.put("a", 1)
                batch.put("b", 2)
                batch.delete("c")
                assert len(batch) == 3 and not await db.contains("a")
            async with db.snapshot() as snapshot:
                await db.put("a", 10)
                assert await snapshot.get("a") == 1 and await snapshot.count() == 2
                assert sorted([key async for key in snapshot]) == ["a", "b"]

            def change(tx):
                tx["a"] += 1
                return tx["a"]

            sums = await asyncio.gather(*(db.transaction(change) for _ in range(20)))
            assert sorted(sums) == list(range(11, 31))
            with pytest.raises(ConflictError):
                store = db.sync_store

                def loses(tx):
                    tx["a"] += 1
                    store["a"] = 0

                await db.transaction(loses, retries=1)
            with pytest.raises(ZeroDivisionError):
                async with db.batch() as batch:
                    batch.put("z", 1)
                    1 / 0
            assert not await db.contains("z")
            with pytest.raises(EncodeError):
                await db.put("z", {1})

    run(main())


def test_the_loop_goes_on_while_the_disk_works(path):
    async def main():
        loop_thread = threading.get_ident()
        async with aio.Bitcask(path, durability="always") as db:
            await asyncio.gather(*(db.put(str(n), n) for n in range(200)))
            assert await db.count() == 200
            assert await db.transaction(lambda tx: threading.get_ident()) != loop_thread

    run(main())


def test_opening_in_other_ways_and_closing_twice(path):
    async def main():
        async with aio.open(path) as db:
            await db.put("a", 0)
        import bitcask

        db = await bitcask.aio.open(path)
        await db.put("a", 1)
        await db.close()
        await db.close()
        with pytest.raises(ClosedError):
            await db.get("a")
        db = await aio.Bitcask(path)
        assert await db.get("a") == 1
        await db.close()
        with pytest.raises(ClosedError):
            await aio.Bitcask(path).get("a")

    run(main())


def test_what_no_future_can_hold(path):
    async def main():
        async with aio.Bitcask(path) as db:
            with pytest.raises(RuntimeError):
                await db.transaction(lambda tx: next(iter(())))
            await db.update(self=1, function=2)
            assert await db.get_many(["self", "function"]) == [1, 2]

    run(main())


def test_opened_and_closed_by_several_at_once(path):
    async def main():
        for _ in range(10):
            db = aio.Bitcask(path)
            await asyncio.gather(db._opened(), db._opened(), db._opened())
            await db.put("a", 1)
            closing = asyncio.ensure_future(db.close())
            await asyncio.sleep(0)
            closing.cancel()
            await db.close()
            assert db.closed
            async with aio.Bitcask(path) as again:
                assert await again.get("a") == 1
            # Closed before it is open: it is not opened any more.
            db = aio.Bitcask(path)
            results = await asyncio.gather(db._opened(), db.close(), return_exceptions=True)
            assert results[1] is None and (results[0] is db or type(results[0]) is ClosedError)
            assert db.closed

    run(main())


def test_an_iteration_gives_all_before_what_it_cannot_decode(path):
    with Bitcask(path) as db:
        db.update((f"{n:03}", n) for n in range(100))
    with Bitcask(path, codec="pickle") as db:
        db["050"] = 50

    async def main():
        async with aio.Bitcask(path, index="ordered") as db:
            seen = []
            with pytest.raises(DecodeError):
                async for key in db.values():
                    seen.append(key)
            assert seen == list(range(50))

    run(main())


def test_a_cancelled_batch_does_not_hold_up_the_loop(path):
    async def main():
        async with aio.Bitcask(path, durability="always") as db:
            for _ in range(20):

                async def write():
                    async with db.batch() as batch:
                        batch.put("a", 1)

                writing = asyncio.ensure_future(write())
                await asyncio.sleep(0.001)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            async with db.batch() as batch:
                batch.put("a", 2)
            assert await db.get("a") == 2

    run(main())
