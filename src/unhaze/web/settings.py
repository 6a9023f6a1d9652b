"""What the operator of a service decides: where it listens, who may ask, and how much."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field, fields

from unhaze.errors import UsageError
from unhaze.restore.options import Options

__all__ = ["DEFAULT_SERVED_PIXELS", "LOOPBACK_NAMES", "SHORTEST_TOKEN", "ServeSettings", "is_loopback"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SHORTEST_TOKEN = 16  # characters; what is shorter is guessed
DEFAULT_SERVED_PIXELS = 100_000_000
"""Width times height of a picture that a service takes; a command on one's own files allows more."""

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a service runs.

    Attributes:
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        token: What callers must show; ``None`` asks for none.
        no_auth: Whether an address that others reach may be served without a token.
        allow_hosts: Names in the ``Host`` header that are answered beside those of loopback and ``host``.
        allow_origins: Origins of other pages that may call (CORS), such as ``https://example.org``.
        trust_proxy: Address of a proxy whose ``X-Forwarded-For`` names the client; ``None`` trusts none.
        options: What pictures are dehazed with where a request says nothing, and the limits of pixels and memory.
        max_bytes: Bytes of a request's body.
        max_seconds: Seconds that one picture may take, waiting not counted.
        max_wait: Seconds that a request waits for its turn.
        header_seconds: Seconds that the head of a request may take.
        upload_seconds: Seconds that an upload may take, plus one for every 64 kB that came; and that a client may take
            to read a piece of an answer.
        queue: Requests that may wait for their turn.
        per_client: Requests of one client at once.
        jobs: Jobs that are kept, done ones included.
        keep_seconds: Seconds that a finished job is kept.
        job_seconds: Seconds that a job may take.
        workers: Pictures worked on at once; ``None`` for one a core.
        idle_seconds: Seconds without work after which the engine is unloaded.
        grace_seconds: Seconds that work under way has to end after a termination signal.
        recycle_after: Requests after which the process starts anew, as soon as nothing is kept or under way; 0 for
            never. Connections wait meanwhile.

    Raises:
        UsageError: A value cannot work, or others could call without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    no_auth: bool = False
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    trust_proxy: str | None = None
    options: Options = field(default_factory=lambda: Options(max_pixels=DEFAULT_SERVED_PIXELS))
    max_bytes: int = 100 << 20
    max_seconds: float = 60.0
    max_wait: float = 60.0
    header_seconds: float = 10.0
    upload_seconds: float = 30.0
    queue: int = 32
    per_client: int = 16
    jobs: int = 8
    keep_seconds: float = 600.0
    job_seconds: float = 3600.0
    workers: int | None = None
    idle_seconds: float = 300.0
    grace_seconds: float = 30.0
    recycle_after: int = 10_000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "port" or not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if not (0 < value < math.inf or (each.name == "recycle_after" and value == 0)):
                raise UsageError(f"{each.name} is {value}, but must be more than 0.")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port is {self.port}, but must be a number from 0 to 65535.")
        if self.token is not None and (len(self.token) < SHORTEST_TOKEN or not self.token.isascii()):
            raise UsageError(f"The token must have at least {SHORTEST_TOKEN} characters of ASCII; make a longer one.")
        if self.token is None and not self.no_auth and not is_loopback(self.host):
            raise UsageError(
                f"Others can reach {self.host}, so a token is needed: set UNHAZE_TOKEN or use --token-file, or say "
                "--no-auth if something in front of this service decides who may call."
            )
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is no origin; write for example https://example.org.")
        for name in self.allow_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no host name; write for example dehaze.example.org, without a port.")

    @property
    def known_hosts(self) -> frozenset[str]:
        """What the ``Host`` header may say, without the port."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(name.lower() for name in (*LOOPBACK_NAMES, own, *self.allow_hosts))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("example.org")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
