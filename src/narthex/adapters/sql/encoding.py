"""How values are kept: instants as microseconds since 1970 in UTC, lists and settings as JSON. Only this file knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from narthex.ports.records import ApplicationSettings, CredentialExtensions
from narthex.webauthn.trust import TrustVerdict

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SETTINGS: Final = msgspec.json.Decoder(ApplicationSettings)
_LIST: Final = msgspec.json.Decoder(tuple[str, ...])
_EXTENSIONS: Final = msgspec.json.Decoder(CredentialExtensions)
_NO_EXTENSIONS: Final = CredentialExtensions()
_VERDICTS: Final = {verdict.value: verdict for verdict in TrustVerdict}


def to_us(instant: datetime) -> int:
    """Exact: a float of seconds would lose the last digit.

    >>> from_us(to_us(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))).isoformat()
    '2026-01-02T03:04:05.678901+00:00'
    """
    return (instant - EPOCH) // _MICROSECOND


def from_us(kept: int) -> datetime:
    return EPOCH + timedelta(0, 0, kept)  # by place: the name would cost a quarter of it


def to_us_or_none(instant: datetime | None) -> int | None:
    return None if instant is None else to_us(instant)


def from_us_or_none(kept: int | None) -> datetime | None:
    return None if kept is None else from_us(kept)


def from_flag(kept: bool | int | None) -> bool | None:
    return None if kept is None else kept == 1


def to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@lru_cache(maxsize=256)  # Transports, hints and scopes: the same few, read at every sign-in.
def list_from_json(kept: str) -> tuple[str, ...]:
    return _LIST.decode(kept)


def settings_from_json(kept: str) -> ApplicationSettings:
    return _SETTINGS.decode(kept)


def hex_list_to_json(values: tuple[bytes, ...]) -> str:
    return to_json([value.hex() for value in values])


# Most credentials have neither key identifiers nor extensions, and each is read at every sign-in: what is empty is
# answered without a decoder.


def hex_list_from_json(kept: str) -> tuple[bytes, ...]:
    """
    >>> hex_list_from_json(hex_list_to_json((b"\\x01", b"")))
    (b'\\x01', b'')
    """
    return () if kept == "[]" else tuple(bytes.fromhex(value) for value in list_from_json(kept))


def extensions_from_json(kept: str) -> CredentialExtensions:
    return _NO_EXTENSIONS if kept == "{}" else _EXTENSIONS.decode(kept)


def verdict_from_text(kept: str) -> TrustVerdict:
    return _VERDICTS[kept]
