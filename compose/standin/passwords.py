"""Password hashing and strength (coderd/userpassword)."""

import asyncio
import hashlib
import hmac
import math
import secrets
import string

# Coder uses 65,535 rounds; fewer here, so that many replicas on a small machine can serve logins at all.
_ROUNDS = 10_000
_MIN_ENTROPY_BITS = 52  # userpassword.go
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_SYMBOLS = 32


def _derive(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


async def hash_password(password: str) -> str:
    """Hash in a thread; gives ``$pbkdf2-sha256$rounds$salt$digest`` with hex parts."""
    salt = secrets.token_bytes(16)
    digest = await asyncio.to_thread(_derive, password, salt, _ROUNDS)
    return f"$pbkdf2-sha256${_ROUNDS}${salt.hex()}${digest.hex()}"


async def check_password(password: str, stored: str) -> bool:
    """Compare in constant time, in a thread. A user without a password (login type none) never matches."""
    parts = stored.split("$")
    if len(parts) != 5:
        return False
    digest = await asyncio.to_thread(_derive, password, bytes.fromhex(parts[3]), int(parts[2]))
    return hmac.compare_digest(digest.hex(), parts[4])


def weak_because(password: str) -> str:
    """Give the reason a password is refused, or nothing: at least 52 bits by length and kinds of characters."""
    if len(password) > 64:
        return "password must be no more than 64 characters"
    kinds = sum(len(kind) for kind in _CLASSES if set(kind) & set(password))
    if set(password) - set("".join(_CLASSES)):
        kinds += _SYMBOLS
    if not password or len(set(password)) < 4 or len(password) * math.log2(kinds) < _MIN_ENTROPY_BITS:
        return "insecure password, try including more special characters, using different cases or a longer password"
    return ""
