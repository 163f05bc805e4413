"""What is said the same way in several places: where programs are, and what a gRPC client sends."""
from __future__ import annotations

import os
import shutil

GRPC_BYTES = 128  # of a gRPC message
GRPC_FIELDS = (("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "grpc-go/1.60.0"),
               ("grpc-timeout", "20S"), ("authorization", "Bearer of-the-client"))


def find(binary: str) -> str | None:
    """A program on PATH, or where system administration's programs are."""
    return shutil.which(binary, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
