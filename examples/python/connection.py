"""Where the server is and whom to trust.

REDIS_URL   rediss://:PASSWORD@HOST:PORT, by default rediss://:secret@127.0.0.1:6380
REDIS_CA    PEM file with the certificate to trust, if it is not one that the system trusts already

The server's certificate is always verified.
"""

import os

URL = os.environ.get("REDIS_URL", "rediss://:secret@127.0.0.1:6380")


def options(protocol: int) -> dict:
    """Keyword arguments for `Redis.from_url`, of redis and of redis.asyncio. `protocol` is 2 or 3."""
    chosen = {"protocol": protocol, "decode_responses": True}
    if URL.startswith("rediss:") and "REDIS_CA" in os.environ:
        chosen["ssl_ca_certs"] = os.environ["REDIS_CA"]
    return chosen
