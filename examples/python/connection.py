"""Where the server is and whom to trust.

REDIS_URL   rediss://:PASSWORD@HOST:PORT, by default rediss://:secret@127.0.0.1:6380
REDIS_CA    PEM file with the certificate to trust; by default the one that `sterna --tls-self-signed` has made, if there is
            one, and the server is on this machine

The server's certificate is always verified.
"""

import os
import pathlib
import sys
import urllib.parse

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

URL = os.environ.get("REDIS_URL", "rediss://:secret@127.0.0.1:6380")
PLACE = urllib.parse.urlsplit(URL)


def authority() -> str | None:
    """The file with the certificate to trust, if it is not one that the system trusts already."""
    if not URL.startswith("rediss:"):
        return None
    data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share"
    own = pathlib.Path(data) / "sterna/tls/ca.crt"
    is_here = PLACE.hostname in ("127.0.0.1", "localhost", "::1")
    return os.environ.get("REDIS_CA") or (str(own) if is_here and own.exists() else None)


def trust() -> dict:
    """Keyword arguments for `Redis.from_url`: whom to trust."""
    file = authority()
    return {"ssl_ca_certs": file} if file else {}


def options(protocol: int) -> dict:
    """Keyword arguments for `Redis.from_url`, of redis and of redis.asyncio. `protocol` is 2 or 3."""
    return {"protocol": protocol, "decode_responses": True, **trust()}


def expect_server() -> None:
    """Ends the program with a sentence if the server can't be used."""
    try:
        with redis.Redis.from_url(URL, retry=Retry(NoBackoff(), 0), **trust()) as client:
            client.ping()
    except redis.AuthenticationError:
        sys.exit(f"the server at {PLACE.hostname}:{PLACE.port} wants another password: set REDIS_URL")
    except redis.RedisError as error:
        place = f"{PLACE.hostname}:{PLACE.port}"
        if "certificate" in str(error).lower():
            sys.exit(f"the certificate of {place} is not trusted: REDIS_CA names the file that vouches for it")
        sys.exit(
            f"there is no server at {place} ({error}): "
            "start one with  sterna --tls-self-signed --requirepass secret  or set REDIS_URL"
        )
