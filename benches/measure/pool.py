"""The user pool behind the proxy: a given one, one that a command starts, or MiniStack with a pool made for this run."""
from __future__ import annotations

import json
import os
import secrets
import select
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import client
from .processes import Child, Failed, wait_for

START_LIMIT = 30.0  # seconds


@dataclass
class Pool:
    endpoint: str
    user_pool_id: str
    client_id: str
    tokens: Path  # JSON that `cognito-proxy import` takes
    child: Child | None = None

    def stop(self) -> None:
        if self.child:
            self.child.stop()


def from_command(command: str, scratch: Path, cpus: set[int]) -> Pool:
    """A pool that `command` serves until it is stopped.

    Its first line on stdout is JSON: endpoint, user_pool_id, client_id, and tokens, an object that `import` takes.
    """
    child = Child(shlex.split(command), cpus, scratch / "pool.log", stdout=subprocess.PIPE)
    try:
        output = child.process.stdout
        line = output.readline() if select.select([output], [], [], START_LIMIT)[0] else b""
        try:
            said = json.loads(line)
            tokens = _write(scratch, said["tokens"])
            return Pool(said["endpoint"], said["user_pool_id"], said["client_id"], tokens, child)
        except (ValueError, KeyError, TypeError):
            raise Failed(f"{command}: its first line is not the JSON that is expected: {line.decode()!r}\n"
                         f"    {child.said()}") from None
    except BaseException:
        child.stop()
        raise


def ministack(python: Path, scratch: Path, cpus: set[int]) -> Pool:
    """MiniStack, as tests/emulators/install leaves it, with a pool, a client and a user who has just signed in."""
    port = client.free_port()
    env = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1",
           "AUTH": "true", "STATE_DIR": str(scratch / "ministack"), "SERVICES": "cognito-idp", "PYTHONDONTWRITEBYTECODE": "1"}
    child = Child([str(python.with_name("ministack"))], cpus, scratch / "ministack.log", env)
    address = ("127.0.0.1", port)
    try:
        healthy = wait_for(lambda: not child.alive() or client.answers(address, "/_ministack/health"), START_LIMIT, 0.05)
        if not healthy or not child.alive():
            raise Failed(f"MiniStack did not start:\n    {child.said()}")
        user_pool_id, client_id, tokens = _seed(address)
        return Pool(f"http://127.0.0.1:{port}", user_pool_id, client_id, _write(scratch, tokens), child)
    except BaseException:
        child.stop()
        raise


def _seed(address: client.Address) -> tuple[str, str, dict]:
    user, password = "alice", f"Aa1!{secrets.token_hex(8)}"
    pool = _call(address, "CreateUserPool", {"PoolName": "compare"})["UserPool"]["Id"]
    app = _call(address, "CreateUserPoolClient", {
        "UserPoolId": pool, "ClientName": "compare",
        "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        # A day: no refresh falls into a run, whose cost would be one peer's alone.
        "IdTokenValidity": 24, "AccessTokenValidity": 24, "RefreshTokenValidity": 30,
        "TokenValidityUnits": {"IdToken": "hours", "AccessToken": "hours", "RefreshToken": "days"},
    })["UserPoolClient"]["ClientId"]
    _call(address, "AdminCreateUser", {
        "UserPoolId": pool, "Username": user, "TemporaryPassword": password, "MessageAction": "SUPPRESS",
        # The profile makes an ID token of about 1.2 kB, which is usual at Cognito.
        "UserAttributes": [{"Name": "email", "Value": "alice@example.com"}, {"Name": "email_verified", "Value": "true"},
                           {"Name": "profile", "Value": "https://example.com/" + "a" * 110}]})
    _call(address, "AdminSetUserPassword",
          {"UserPoolId": pool, "Username": user, "Password": password, "Permanent": True})
    signed_in = _call(address, "InitiateAuth", {
        "AuthFlow": "USER_PASSWORD_AUTH", "ClientId": app,
        "AuthParameters": {"USERNAME": user, "PASSWORD": password}})
    return pool, app, signed_in


def _call(address: client.Address, operation: str, body: dict) -> dict:
    response = client.request(address, "POST", "/", {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AWSCognitoIdentityProviderService.{operation}",
        # The emulator checks no signature, but finds the service in the credential scope.
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cognito-idp/aws4_request, "
                         "SignedHeaders=host, Signature=0",
        "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
    }, json.dumps(body).encode())
    if response.status != 200:
        raise Failed(f"the emulator refused {operation}: {response.status} {response.body.decode(errors='replace')}")
    return json.loads(response.body or b"{}")


def _write(scratch: Path, tokens: dict) -> Path:
    path = scratch / "tokens.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(tokens))
    return path
