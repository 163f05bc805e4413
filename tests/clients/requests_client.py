"""requests (urllib3), HTTP/1.1: requests_client.py PROXY UPSTREAM, both as origins."""

import hashlib
import sys

import requests

proxy, upstream = sys.argv[1:]
MIB = 1024 * 1024

with requests.Session() as session:
    for number in range(20):
        seen = session.get(f"{proxy}/orders/{number}", params={"q": "a b&c/ü"}, timeout=30).json()
        assert seen["target"] == f"/orders/{number}?q=a+b%26c%2F%C3%BC", seen["target"]
        assert seen["token"]["verdict"] == "valid", seen

    seen = session.post(f"{proxy}/orders", json={"item": "ü"}, timeout=30).json()
    assert seen["method"] == "POST" and seen["body_bytes"] == len('{"item": "\\u00fc"}'), seen

    seen = session.post(f"{proxy}/upload", files={"file": ("name.bin", b"\0\xff" * 50_000)}, timeout=30).json()
    assert seen["body_bytes"] > 100_000 and seen["token"]["verdict"] == "valid", seen

    pieces = [bytes([number]) * 65_536 for number in range(64)]
    seen = session.post(f"{proxy}/sink", data=iter(pieces), timeout=30).json()
    assert seen["body_sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest(), "a body without a length"

    with session.get(f"{proxy}/bytes/{16 * MIB}", stream=True, timeout=30) as download:
        assert sum(map(len, download.iter_content(65_536))) == 16 * MIB
    assert session.head(f"{proxy}/orders", timeout=30).content == b""

    # A redirect to the upstream's own origin leads back to the proxy, which then injects again.
    followed = session.get(f"{proxy}/redirect", params={"to": f"{upstream}/landed"}, timeout=30)
    assert [step.status_code for step in followed.history] == [302], followed.history
    assert followed.url == f"{proxy}/landed" and followed.json()["token"]["verdict"] == "valid", followed.url

    # Of a cookie for the upstream's domain, on HTTPS only, the client would make nothing.
    cookie = "sid=7; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=None"
    session.get(f"{proxy}/response-headers", params={"Set-Cookie": cookie}, timeout=30)
    assert session.get(f"{proxy}/orders", timeout=30).json()["headers"]["cookie"] == "sid=7"

    assert session.get(f"{proxy}/status/404", timeout=30).status_code == 404
print("done")
