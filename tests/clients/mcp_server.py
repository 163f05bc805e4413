"""An MCP server (the `mcp` SDK, streamable HTTP). Says where it listens."""

import asyncio
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("orders")
released = asyncio.Event()


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def authorization(ctx: Context) -> str:
    return ctx.headers["authorization"]


@server.tool()
async def wait(ctx: Context) -> str:
    """Reports that it waits, and ends once `release` is called."""
    released.clear()
    await ctx.report_progress(1, 2)
    await released.wait()
    return "released"


@server.tool()
async def release() -> str:
    released.set()
    return "ok"


listener = socket.create_server(("127.0.0.1", 0))
host, port = listener.getsockname()
print(f"listening {host}:{port}", file=sys.stderr, flush=True)
uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning")).run(sockets=[listener])
