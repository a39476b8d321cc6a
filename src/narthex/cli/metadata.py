"""The FIDO metadata at the command line: what is kept, getting newer, and looking models up."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from narthex.cli.operator import AsJson, Config, operate, print_json, print_members, print_table

if TYPE_CHECKING:
    from narthex.webauthn.metadata import MetadataEntry

metadata = App(name="metadata", help="The FIDO metadata, by which models of authenticators are judged.")


@metadata.command
def show(*, as_json: AsJson = False, config: Config = None) -> None:
    """Print what is kept, how old it is, and how the last try to get it went."""

    async def act(call: Any) -> tuple[Any, Any, datetime]:
        return await call.root.find_metadata(), call.catalog.current, call.now

    settings, (kept, current, now) = operate(config, act)
    state = {
        "source": "off" if settings.metadata is None else str(settings.metadata),
        "number": kept.number or None,
        "models": len(current.entries),
        "next_update": current.next_update.isoformat() if current.number else None,
        "stale": current.is_stale(now),
        "kept_at": _said(kept.kept_at),
        "tried_at": _said(kept.tried_at),
        "failures": kept.failures,
        "problem": kept.problem,
    }
    if as_json:
        print_json(state)
        return
    print_members(state)
    if settings.metadata is None:
        print(
            "\nThere is no metadata: NARTHEX_METADATA is off. Only anchors of an application's own can prove a model."
        )


@metadata.command
def update(
    *,
    file: Annotated[Path | None, Parameter(help="A file to read instead of what NARTHEX_METADATA names.")] = None,
    replace: Annotated[
        bool, Parameter(help="Keep it even if newer metadata is kept, as after a change of who signs it.", negative="")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Get the metadata now. Servers judge by it within a minute; what does not verify changes nothing."""
    from narthex import main as house
    from narthex.adapters.metadata_source import FileSource
    from narthex.cli.operator import settings_of
    from narthex.usecases.metadata import update_metadata

    source = FileSource(file) if file is not None else house.metadata_source(settings_of(config))
    if source is None:
        raise SystemExit("NARTHEX_METADATA is off: give --file, or set it to an address or a file.")

    async def act(call: Any) -> tuple[Any, datetime]:
        return await update_metadata(call.root, call.catalog, source, now=call.now, replace=replace), call.now

    _, (result, now) = operate(config, act)
    found = result.metadata
    if as_json:
        print_json(
            {
                "number": found.number,
                "kept": result.kept,
                "models": len(found.entries),
                "next_update": found.next_update.isoformat(),
                "stale": found.is_stale(now),
                "skipped": found.skipped,
                "problems": list(result.problems),
            }
        )
        return
    if not result.kept:
        print(f"Metadata {found.number} is not newer than what is kept; nothing changed.")
        return
    print(f"Metadata {found.number} is kept: {len(found.entries)} models, next update {found.next_update}.")
    for problem in result.problems:
        print(f"Not checked: {problem}.")
    if found.skipped:
        print(f"{found.skipped} entries could not be read and were left out.")
    if found.is_stale(now):
        print("It is out of date: newer metadata was due.")


@metadata.command
def find(
    text: Annotated[str, Parameter(help="An AAGUID, or a part of a name.")],
    /,
    *,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Look models up, and print what the metadata says of them."""

    async def act(call: Any) -> list[MetadataEntry]:
        wanted = text.casefold()
        return [
            entry for entry in call.catalog.current.entries if wanted in f"{_aaguid(entry)} {entry.name}".casefold()
        ]

    _, entries = operate(config, act)
    if as_json:
        print_json({"models": [_members(entry) for entry in entries]})
        return
    if not entries:
        print(f"No model in the metadata is called `{text}` or has that AAGUID.")
        return
    print_table(
        ("AAGUID", "NAME", "KEYS", "STATUS"),
        (
            (
                _aaguid(entry),
                entry.name,
                ", ".join(entry.key_protection) or "-",
                ", ".join(dict.fromkeys(report.status for report in entry.statuses)) or "-",
            )
            for entry in sorted(entries, key=lambda entry: entry.name.casefold())
        ),
    )


def _members(entry: MetadataEntry) -> dict[str, Any]:
    return {
        "aa_guid": None if entry.aaguid is None else _aaguid(entry),
        "name": entry.name,
        "key_protection": list(entry.key_protection),
        "statuses": [report.status for report in entry.statuses],
    }


def _aaguid(entry: MetadataEntry) -> str:
    return str(UUID(bytes=entry.aaguid)) if entry.aaguid is not None else "-"


def _said(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant:%Y-%m-%d %H:%M} UTC"
