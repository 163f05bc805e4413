"""The peers: where their programs are, how each is configured for the same job, and whether it does that job."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import client, h2
from .modes import HTTP, Mode
from .pool import Pool
from .processes import Child, Failed, wait_for
from .programs import GRPC_BYTES, find

TEMPLATES = Path(__file__).parent.parent / "peers"
START_LIMIT = 20.0  # seconds
CIPHER = "TLS_AES_128_GCM_SHA256"  # the origin takes no other, so that nobody's preference decides


@dataclass
class Site:
    """What all peers of one run share."""

    scratch: Path
    build: Path  # kept between runs: the Go peer's binary
    origin: client.Address
    certificate: Path | None  # of an https origin, and what it is verified against
    proxy_cpus: set[int]
    load_cpus: set[int]
    token: str = ""
    mode: Mode = HTTP
    unary: client.Address | None = None  # where gRPC calls go, and where gRPC streams go
    stream: client.Address | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    @property
    def origin_authority(self) -> str:
        return authority(self.origin)

    def answers(self, address: client.Address) -> bool:
        """Whether a proxy answers a request with 200 right now."""
        return (h2 if self.mode.client_h2 else client).answers(address)

    def fill(self, template: str, target: Path, **values: str) -> Path:
        """Writes a template of benches/peers with its @NAMES@ filled in."""
        known = {"RUN": str(self.scratch), "ORIGIN": self.origin_authority, "SCHEME": self.scheme,
                 "TOKEN": self.token, "USER": "user root;" if os.geteuid() == 0 else "",
                 "H2": "http2" if self.mode.client_h2 else "", **values}
        if self.unary and self.stream:
            known.update(UNARY=authority(self.unary), STREAM=authority(self.stream))
        text = (TEMPLATES / template).read_text()
        target.write_text(re.sub(r"@([A-Z0-9_]+)@", lambda match: known[match[1]], text))
        target.chmod(0o600)
        return target


def make_site(mode: Mode, scratch: Path, build: Path, proxy_cpus: set[int], load_cpus: set[int],
              token: str = "") -> Site:
    """A site of its own for `mode`, with what that needs."""
    scratch.mkdir(mode=0o700)
    site = Site(scratch, build, _free(), None, proxy_cpus, load_cpus, token, mode)
    if mode.origin_tls:
        site.certificate = make_certificate(scratch)
    if mode.origin_h2:
        site.unary, site.stream = _free(), _free()
    return site


@dataclass
class Peer:
    """A proxy that is measured. Its configuration is written by `configure`, once the token is known."""

    name: str
    version: str
    site: Site
    configure: Callable[["Peer"], list[str]]
    port: int = field(default_factory=client.free_port)
    env: dict[str, str] | None = None
    own_token: bool = False  # cognito-proxy: the token is the pool's, not the site's
    resumes: bool = False  # whether a later connection to an https origin resumes the session of an earlier one
    child: Child | None = None

    @property
    def address(self) -> client.Address:
        return ("127.0.0.1", self.port)

    def start(self, ready: Callable[[client.Address], bool], pause: float = 0.002) -> float:
        """Starts it and waits until `ready`; the seconds that took from before the fork."""
        self.child = Child(self.configure(self), self.site.proxy_cpus, self.site.scratch / f"{self.name}.log", self.env)
        child = self.child
        if not wait_for(lambda: not child.alive() or ready(self.address), START_LIMIT, pause) or not child.alive():
            said = child.said()
            self.stop()
            raise Failed(f"{self.name} did not start:\n    {said}")
        return time.perf_counter() - child.started

    def stop(self) -> None:
        if self.child:
            self.child.stop()
            self.child = None

    def prove(self) -> None:
        """Checks that it does the job: the client's Authorization gone, one of its own set, Host the origin's.

        Of an https origin: the cipher that is meant, and the session taken up again by a later connection.
        """
        ask = h2 if self.site.mode.client_h2 else client
        seen = {}
        for path in ["/echo-close"] * 3 if self.site.certificate else ["/echo"]:
            response = ask.request(self.address, "POST", path, {"authorization": "Bearer of-the-client"}, b"12345")
            seen = dict(line.partition("=")[::2] for line in response.body.decode(errors="replace").splitlines())
        token = seen.get("authorization", "").removeprefix("Bearer ")
        expected = token.count(".") == 2 if self.own_token else token == self.site.token
        if not (response.status == 200 and expected and token != "of-the-client"):
            raise Failed(f"{self.name} does not set the token (status {response.status})")
        if seen.get("host") != self.site.origin_authority or seen.get("length") != "5":
            raise Failed(f"{self.name}: the origin saw host={seen.get('host')} length={seen.get('length')}")
        if self.site.certificate and seen.get("cipher") != CIPHER:
            raise Failed(f"{self.name}: the origin saw the cipher {seen.get('cipher')}, not {CIPHER}")
        self.resumes = seen.get("reused") == "r"


@dataclass(frozen=True)
class Program:
    """A peer's program, its Debian package, and how a peer is made of it."""

    name: str
    binary: str
    package: str
    peer: Callable[[Site, str], Peer]
    h2c: bool = True  # whether it speaks HTTP/2 without TLS


class Origin:
    """What stands behind every proxy: an nginx, and for gRPC two servers more, once they accept connections."""

    def __init__(self, site: Site):
        self.children: list[Child] = []
        tls, listen = "", "http2" if site.mode.origin_h2 else ""
        if site.certificate:
            tls = (f"ssl_certificate {site.scratch}/origin.pem; ssl_certificate_key {site.scratch}/origin.key; "
                   f"ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER};")
            listen = "ssl"
        config = site.fill("origin.conf", site.scratch / "origin.conf", TLS=tls, LISTEN=listen, ONE_KIB="x" * 1024)
        try:
            self._start(site, site.origin, "origin", nginx_argv(site, find("nginx"), config))
            if site.unary and site.stream:
                files = site.scratch / "grpc"
                files.mkdir(exist_ok=True)
                (files / "unary.grpc").write_bytes(h2.message(GRPC_BYTES))
                (site.scratch / "mime.types").write_text("application/grpc grpc\n")
                self._start(site, site.unary, "unary", [
                    find("nghttpd"), "--no-tls", "-a", site.unary[0], "-d", str(files), "--no-content-length",
                    "--mime-types-file", str(site.scratch / "mime.types"), "--trailer", "grpc-status: 0",
                    str(site.unary[1])])
                self._start(site, site.stream, "stream", [sys.executable, h2.__file__, str(site.stream[1])])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        while self.children:
            self.children.pop().stop()

    def _start(self, site: Site, address: client.Address, name: str, argv: list[str]) -> None:
        child = Child(argv, site.load_cpus, site.scratch / f"{name}.log")
        self.children.append(child)
        if not wait_for(lambda: not child.alive() or client.accepts(address), 10.0) or not child.alive():
            raise Failed(f"the origin did not start:\n    {child.said()}")


def _free() -> client.Address:
    return ("127.0.0.1", client.free_port())


def authority(address: client.Address) -> str:
    return f"{address[0]}:{address[1]}"


def nginx(site: Site, binary: str) -> Peer:
    def configure(peer: Peer) -> list[str]:
        tls = "" if not site.certificate else (
            f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {site.certificate}; proxy_ssl_name localhost; "
            "proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;")
        template = "nginx-grpc.conf" if site.mode.origin_h2 else "nginx.conf"
        config = site.fill(template, site.scratch / "nginx.conf", PORT=str(peer.port), TLS=tls)
        return nginx_argv(site, binary, config)

    return Peer("nginx", _version([binary, "-v"]), site, configure)


def nginx_argv(site: Site, binary: str, config: Path) -> list[str]:
    """`-e` keeps it from opening the distribution's log before it has read the configuration."""
    return [binary, "-p", str(site.scratch), "-e", str(config.with_suffix(".err")), "-c", str(config)]


def haproxy(site: Site, binary: str) -> Peer:
    def configure(peer: Peer) -> list[str]:
        tls = "" if not site.certificate else (
            f"ssl verify required ca-file {site.certificate} sni str(localhost) verifyhost localhost")
        template = "haproxy-grpc.cfg" if site.mode.origin_h2 else "haproxy.cfg"
        config = site.fill(template, site.scratch / "haproxy.cfg", PORT=str(peer.port), TLS=tls,
                           PROTO="proto h2" if site.mode.client_h2 else "")
        return [binary, "-q", "-db", "-f", str(config)]

    return Peer("haproxy", _version([binary, "-v"]), site, configure)


def caddy(site: Site, binary: str) -> Peer:
    def configure(peer: Peer) -> list[str]:
        tls = "" if not site.certificate else (
            f"tls_trusted_ca_certs {site.certificate}\n\t\t\ttls_server_name localhost")
        template = "Caddyfile-grpc" if site.mode.origin_h2 else "Caddyfile"
        config = site.fill(template, site.scratch / "Caddyfile", PORT=str(peer.port), TLS=tls,
                           PROTOCOLS="h1 h2c" if site.mode.client_h2 else "h1")
        return [binary, "run", "--config", str(config), "--adapter", "caddyfile"]

    return Peer("caddy", _version([binary, "version"]), site, configure, env=_home(site, "caddy"))


def go(site: Site, binary: str) -> Peer:
    version = _version([binary, "version"])
    built = site.build / "reverseproxy"
    stamp, source = site.build / "reverseproxy.from", TEMPLATES / "reverseproxy.go"
    mark = version + "\n" + source.read_text()
    if not built.exists() or not stamp.exists() or stamp.read_text() != mark:
        done = subprocess.run([binary, "build", "-o", str(built), str(source)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=300,
                              env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOTOOLCHAIN": "local"})
        if done.returncode != 0:
            raise Failed(f"go build: {done.stderr.strip()}")
        stamp.write_text(mark)

    def configure(peer: Peer) -> list[str]:
        token = site.scratch / "token"
        token.write_text(site.token)
        argv = [str(built), "-listen", f"127.0.0.1:{peer.port}", "-upstream", f"{site.scheme}://{site.origin_authority}",
                "-token-file", str(token)]
        return argv + (["-ca-file", str(site.certificate)] if site.certificate else [])

    return Peer("go", version, site, configure)


PROGRAMS = (
    Program("nginx", "nginx", "nginx", nginx),
    Program("haproxy", "haproxy", "haproxy", haproxy),
    Program("caddy", "caddy", "caddy", caddy),
    # The standard library has no HTTP/2 without TLS.
    Program("go", "go", "golang-go", go, h2c=False),
)


@dataclass(frozen=True)
class Settings:
    """How a cognito-proxy differs from the one that is measured elsewhere."""

    workers: int = 1
    more: str = ""  # sections of its configuration
    env: dict[str, str] = field(default_factory=dict)


def make_certificate(scratch: Path) -> Path:
    """An authority's certificate; beside it `origin.pem`, which it has signed for localhost, and `origin.key`."""
    authority_ = scratch / "authority.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for path, more in ((authority_, ["-subj", "/CN=authority of a benchmark"]),
                       (scratch / "origin.pem", [
                           "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                           "-addext", "basicConstraints=critical,CA:FALSE", "-CA", str(authority_),
                           "-CAkey", str(authority_.with_suffix(".key"))])):
        done = subprocess.run([*new, *more, "-keyout", str(path.with_suffix(".key")), "-out", str(path)],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Failed(f"openssl, which has to be 3.0 or later: {done.stderr.strip()}")
    return authority_


def cognito_proxy(site: Site, name: str, command: list[str], pool: Pool, settings: "Settings | None" = None) -> Peer:
    """The proxy, with a session that `import` has stored."""
    settings = settings or Settings()
    env = {**_home(site, name), **settings.env}
    admin = client.free_port()

    def write(peer: Peer) -> Path:
        upstream, more = [], [settings.more]
        if site.certificate:
            upstream.append(f'ca_file = "{site.certificate}"')
        if site.mode.origin_h2:
            upstream.append('http = "h2"')
            for path, target in (("/unary.grpc", site.unary), ("/stream", site.stream)):
                more.append(f'[[route]]\npath = "{path}"\nupstream = "http://{authority(target)}"')
        return site.fill("cognito-proxy.toml", site.scratch / f"{name}.toml", PORT=str(peer.port),
                         ADMIN_PORT=str(admin), POOL_ID=pool.user_pool_id, CLIENT_ID=pool.client_id,
                         POOL_ENDPOINT=pool.endpoint, UPSTREAM="\n".join(upstream), MORE="\n".join(more),
                         WORKERS=str(settings.workers))

    def configure(peer: Peer) -> list[str]:
        return [*command, "-c", str(write(peer)), "run"]

    peer = Peer(name, _version([*command, "--version"]), site, configure, env=env, own_token=True)
    done = subprocess.run([*command, "-c", str(write(peer)), "import", str(pool.tokens)], env=env, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    # 3: it works, but the session ends soon.
    if done.returncode not in (0, 3):
        raise Failed(f"{name}: import ended with {done.returncode}:\n    {done.stdout.strip()}")
    return peer


def token_length(peer: Peer) -> int:
    """The length of the token that a running proxy injects, so that the peers carry as much."""
    ask = h2 if peer.site.mode.client_h2 else client
    body = ask.request(peer.address, "GET", "/echo").body.decode(errors="replace")
    return len(body.splitlines()[0].removeprefix("authorization=Bearer "))


def _home(site: Site, name: str) -> dict[str, str]:
    """An environment whose every directory is in the scratch directory, without a desktop, a journal or settings."""
    home = site.scratch / f"{name}.home"
    home.mkdir(mode=0o700, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LD_LIBRARY_PATH", "TZ")}
    places = {"HOME": home}
    for variable, folder in (("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_DATA_HOME", "data"),
                             ("XDG_CACHE_HOME", "cache"), ("XDG_RUNTIME_DIR", "run")):
        places[variable] = home / folder
        places[variable].mkdir(mode=0o700, exist_ok=True)
    return {**kept, **{key: str(path) for key, path in places.items()}}


def _version(argv: list[str]) -> str:
    """The number in the first line that a program prints about its version."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{' '.join(argv)}: {error}") from error
    line = ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]
    number = re.search(r"\d+\.\d+[\w.+~-]*", line)
    return number[0] if number else line
