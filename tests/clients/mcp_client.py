"""An MCP client (the `mcp` SDK, streamable HTTP): mcp_client.py URL MODE. Prints the `Authorization` upstream."""

import asyncio
import sys

from mcp import Client

url, mode = sys.argv[1:]


async def main():
    async with Client(url, mode=mode, read_timeout_seconds=30) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"add", "authorization", "wait", "release"}, tools

        async def call(name, arguments=None, **options):
            result = await client.call_tool(name, arguments or {}, **options)
            assert not result.is_error, result
            return result.content[0].text

        sums = await asyncio.gather(*(call("add", {"a": number, "b": 1}) for number in range(20)))
        assert sums == [str(number + 1) for number in range(20)], sums

        # The tool ends only once its progress has come through: a buffered stream would wait for ever.
        async def on_progress(progress, total, message):
            await call("release")

        assert await call("wait", progress_callback=on_progress) == "released"
        print(await call("authorization"))


asyncio.run(main())
