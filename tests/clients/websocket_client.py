"""A WebSocket client (websockets): websocket_client.py HOST:PORT. Prints the `Authorization` that the server saw."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

address = sys.argv[1]


def to(path, **options):
    return connect(f"ws://{address}{path}", proxy=None, max_size=2**24, subprotocols=["orders.v0", "orders.v1"], **options)


async def messages(compression):
    async with to("/echo", compression=compression) as socket:
        assert socket.subprotocol == "orders.v1", socket.subprotocol
        large = os.urandom(4 * 1024 * 1024)
        for message in ["", "héllo", b"", b"\0\xff", large]:
            await socket.send(message)
            assert await socket.recv() == message
        # One message in three frames.
        await socket.send(["a", "b", "c"])
        assert await socket.recv() == "abc"
        await socket.send([large[:100_000], large[100_000:]])
        assert await socket.recv() == large
        await (await socket.ping(b"are you there?"))
        # Many in both directions at a time.
        for number in range(1000):
            await socket.send(str(number))
        for number in range(1000):
            assert await socket.recv() == str(number)
        await socket.close(4321, "bye")
        assert socket.close_code == 4321, socket.close_code


async def closed_by_the_server():
    async with to("/close") as socket:
        try:
            await socket.recv()
        except ConnectionClosedError as error:
            assert (error.rcvd.code, error.rcvd.reason) == (4001, "enough"), error
        else:
            raise AssertionError("the server did not close")


async def main():
    await messages(compression=None)
    await messages(compression="deflate")
    await closed_by_the_server()
    async with to("/authorization") as socket:
        print(await socket.recv())


asyncio.run(main())
