"""Statements of the format `compound`: several statements about one credential."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.statements_android_key import make_android_key
from tests.support.statements_tpm import make_tpm

if TYPE_CHECKING:
    from tests.support.statements import Made

Part = dict[str, Any]


def make_packed(made: Made) -> dict[str, Any]:
    """The statement of a key about itself."""
    return {"alg": made.key.alg, "sig": made.key.sign(made.data + made.client_data_hash)}


_MAKERS: dict[str, Callable[..., Any]] = {
    "none": lambda made: {},
    "packed": make_packed,
    "tpm": make_tpm,
    "android-key": make_android_key,
}


def make_compound(
    made: Made,
    *,
    parts: tuple[str, ...] = ("packed", "tpm"),
    edit_parts: Callable[[list[Part]], Any] = list,
    **making: Any,
) -> Any:
    """A statement of the format `compound`, which is an array.

    Args:
        parts: formats, in order.
        making: keywords of a part's maker, by format with `-` as `_`.
    """
    made_parts = [{"fmt": fmt, "attStmt": _MAKERS[fmt](made, **making.get(fmt.replace("-", "_"), {}))} for fmt in parts]
    return edit_parts(made_parts)
