"""The keys of the token service, in one file of the state folder: the newest signs, an older one verifies until its tokens died.

Every process of a state folder sees a rotation: the file is read again when it changes. Refuses to know what is signed.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from joserfc.jwk import ECKey

from lictor.model.errors import LictorError, OperatorError
from lictor.model.reasons import Reason
from lictor.protocol.jose.algs import ALGS
from lictor.protocol.jose.base64url import encode
from lictor.protocol.jose.keys import KeySet, key_set_of
from lictor.stores.instances import try_lock
from lictor.stores.private import FILE_MODE, check_private, create_private, replace_private

FILE: Final = "token.keys"
ALG: Final = "ES256"
GRACE_MS: Final = 16 * 60 * 1_000
"""After a rotation an old key verifies for as long: the life of its last token, and a minute."""
LOOK_MS: Final = 1_000
_MAX_FILE: Final = 64 * 1024


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as the file has it. `retired_ms` 0: it signs."""

    kid: str
    x: str
    y: str
    d: str
    created_ms: int
    retired_ms: int = 0


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int = 1
    keys: tuple[_Kept, ...]


class _Loaded(msgspec.Struct, frozen=True):
    stamp: tuple[int, int, int]
    kid: str
    private: ECKey
    kept: tuple[_Kept, ...]


class TokenKeys:
    """Signs and publishes. One object a process; the file is what processes share."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        """Read the keys; make the first one.

        Raises:
            OperatorError: `config_refused`: others can read the file, or it holds no such keys.
        """
        self._path = folder / FILE
        if not self._path.exists():
            _written(self._path, create_private, (_fresh(now_ms),))
        self._now = self._read()
        self._set: tuple[int, int, KeySet] | None = None
        """Good from, good until, the keys."""
        self._made: tuple[tuple[str, ...], KeySet] | None = None

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """A compact JWS of these claims by the newest key.

        Raises:
            OperatorError: the file changed and cannot be used.
        """
        now = self._current()
        header = {"alg": ALG, "kid": now.kid, "typ": typ}
        text = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{text}.{encode(ALGS[ALG].model.sign(text.encode('ascii'), now.private))}"

    def verifying(self, now_ms: int, *, fresh: bool = False) -> KeySet:
        """What signatures may be checked with now.

        `fresh`: the file is looked at, as for a token whose key is not known; otherwise that is done once a second.
        """
        if self._set is None or fresh or not self._set[0] <= now_ms < self._set[1]:
            kept = self._current().kept
            ends = [key.retired_ms + GRACE_MS for key in kept if key.retired_ms and _verifies(key, now_ms)]
            self._set = (now_ms, min([now_ms + LOOK_MS, *ends]), self._key_set(now_ms))
        return self._set[2]

    def _key_set(self, now_ms: int) -> KeySet:
        public = self._public(now_ms)
        kids = tuple(key["kid"] for key in public)
        if self._made is None or self._made[0] != kids:
            self._made = (kids, key_set_of(public, "sig"))
        return self._made[1]

    def published(self, now_ms: int) -> dict[str, Any]:
        """The JWK set (RFC 7517); public members alone."""
        return {"keys": self._public(now_ms)}

    def rotate(self, now_ms: int) -> str:
        """Sign with a fresh key from now on; name it. Keys whose last token is dead are dropped.

        Raises:
            OperatorError: the file cannot be used or written.
        """
        with _alone(self._path.with_suffix(".lock")):
            fresh = _fresh(now_ms)
            old = (
                msgspec.structs.replace(key, retired_ms=key.retired_ms or now_ms)
                for key in self._read().kept
                if _verifies(key, now_ms)
            )
            _written(self._path, replace_private, (fresh, *old))
            self._now, self._set = self._read(), None
        return fresh.kid

    def _public(self, now_ms: int) -> list[dict[str, Any]]:
        return [
            {"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y, "kid": key.kid, "alg": ALG, "use": "sig"}
            for key in self._current().kept
            if _verifies(key, now_ms)
        ]

    def _current(self) -> _Loaded:
        if _stamp(self._path) != self._now.stamp:
            self._now = self._read()
        return self._now

    def _read(self) -> _Loaded:
        stamp = _stamp(self._path)
        try:
            check_private(self._path)
            with self._path.open("rb") as file:
                kept = msgspec.json.decode(file.read(_MAX_FILE), type=_File, strict=True).keys
            signing = [key for key in kept if not key.retired_ms]
            private = _private(signing)
        except LictorError:
            raise
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                f"{str(self._path)!r:.200} holds no keys of the token service: {type(error).__name__}",
                remedy="remove it: tokens that are out must then be asked for again",
            ) from error
        return _Loaded(stamp, signing[0].kid, private, kept)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two rotations at once would lose one's key, and with it the tokens that it had signed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    try:
        if not try_lock(descriptor):
            raise OperatorError(Reason.CONFLICT, "the keys of the token service are being rotated", remedy="try again")
        yield
    finally:
        os.close(descriptor)


def _private(signing: list[_Kept]) -> ECKey:
    if len(signing) != 1:
        raise ValueError("not exactly one key signs")
    return ECKey.import_key({"kty": "EC", "crv": "P-256", **{name: getattr(signing[0], name) for name in "xyd"}})


def _verifies(key: _Kept, now_ms: int) -> bool:
    return not key.retired_ms or now_ms < key.retired_ms + GRACE_MS


def _fresh(now_ms: int) -> _Kept:
    key = ECKey.generate_key("P-256", private=True)
    members = key.as_dict(private=True)
    x, y, d = (str(members[name]) for name in "xyd")
    return _Kept(kid=key.thumbprint(), x=x, y=y, d=d, created_ms=now_ms)


def _written(path: Path, write: Any, keys: tuple[_Kept, ...]) -> None:
    try:
        write(path, msgspec.json.encode(_File(keys=keys)))
    except OSError as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"cannot write {str(path)!r:.200}: {error.strerror}", remedy="free space on the disk"
        ) from error


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes when the file is replaced: it is never written in place."""
    try:
        found = os.stat(path)  # noqa: PTH116 - on the way of every token
    except OSError as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot read {str(path)!r:.200}: {error.strerror}") from error
    return found.st_ino, found.st_mtime_ns, found.st_size
