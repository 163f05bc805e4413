"""httpx: httpx_client.py PROXY 1|2, the version of HTTP; version 2 is h2c by prior knowledge."""

import asyncio
import hashlib
import sys

import httpx

proxy, version = sys.argv[1:]
MIB = 1024 * 1024
PIECE = b"\x5a" * 65_536


async def pieces():
    for _ in range(64):
        yield PIECE


async def main():
    options = {"http1": version == "1", "http2": version == "2", "trust_env": False, "timeout": 30}
    async with httpx.AsyncClient(base_url=proxy, **options) as client:
        replies = await asyncio.gather(*(client.get(f"/orders/{number}") for number in range(50)))
        for number, reply in enumerate(replies):
            assert reply.http_version == {"1": "HTTP/1.1", "2": "HTTP/2"}[version], reply.http_version
            seen = reply.json()
            assert seen["target"] == f"/orders/{number}" and seen["token"]["verdict"] == "valid", seen

        reply = await client.post("/sink", content=pieces())
        assert reply.json()["body_sha256"] == hashlib.sha256(PIECE * 64).hexdigest(), reply.json()

        async with client.stream("GET", f"/bytes/{16 * MIB}") as download:
            assert download.headers["content-length"] == str(16 * MIB)
            assert sum([len(piece) async for piece in download.aiter_bytes()]) == 16 * MIB

        # A download that is given up harms no other request. Over HTTP/2 httpx leaves the stream as it is, neither read
        # nor reset, and so fills its own connection's window, whoever the server is.
        if version == "1":
            async with client.stream("GET", f"/bytes/{64 * MIB}") as download:
                await anext(download.aiter_bytes())
        assert (await client.get("/status/404")).status_code == 404
    print("done")


asyncio.run(main())
