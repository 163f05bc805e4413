"""Server-sent events with httpx: sse_client.py PROXY 1|2. Says each event on standard error as it comes."""

import sys

import httpx

proxy, version = sys.argv[1:]
with httpx.Client(http1=version == "1", http2=version == "2", trust_env=False, timeout=30) as client:
    with client.stream("GET", f"{proxy}/events", headers={"accept": "text/event-stream"}) as events:
        assert events.headers["content-type"] == "text/event-stream", events.headers
        for line in events.iter_lines():
            if line.startswith("data: "):
                print(line, file=sys.stderr, flush=True)
            if line == "data: last":
                break
print("done")
