"""The ways in which the same job is measured: what clients speak, and what the origin does."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One way. All of its peers are configured for it, and run beside each other."""

    key: str
    title: str
    client_h2: bool = False  # clients speak HTTP/2 by prior knowledge
    origin_h2: bool = False  # so do the proxies to the origin, and streams go to origins of their own
    origin_tls: bool = False


HTTP = Mode("http", "HTTP/1.1 to an HTTP/1.1 origin")
HTTPS = Mode("https", "HTTP/1.1 to an https origin (TLS 1.3, TLS_AES_128_GCM_SHA256, P-256 certificate)",
             origin_tls=True)
H2 = Mode("h2", "HTTP/2 to an HTTP/1.1 origin", client_h2=True)
GRPC = Mode("grpc", "HTTP/2 and gRPC to an HTTP/2 origin", client_h2=True, origin_h2=True)

MODES = (HTTP, HTTPS, H2, GRPC)
