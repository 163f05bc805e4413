"""A WebSocket server (websockets) that sends back what it gets. Says where it listens, and how connections close."""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError


def say(text):
    print(text, file=sys.stderr, flush=True)


async def answer(socket):
    if socket.request.path == "/authorization":
        await socket.send(socket.request.headers["authorization"])
    if socket.request.path == "/close":
        await socket.close(4001, "enough")
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosedError:
        # Closed with another code than 1000.
        pass
    say(f"closed {socket.close_code} {socket.close_reason}")


async def main():
    async with serve(answer, "127.0.0.1", 0, subprotocols=["orders.v1"], max_size=2**24) as server:
        host, port = server.sockets[0].getsockname()
        say(f"listening {host}:{port}")
        await server.serve_forever()


asyncio.run(main())
