"""Moving applications in and out at the command line: from the reference server's database, and as archives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from narthex.cli.operator import AsJson, Config, Name, counted, operate, print_json, print_table, printable
from narthex.http.problems import sentence

if TYPE_CHECKING:
    from narthex.adapters.secret_file import SecretFile
    from narthex.usecases.transfer_report import Advance, ApplicationReport

imports = App(name="import", help="Bring applications here: from a Passwordless.dev server, or from an archive.")

DryRun = Annotated[
    bool,
    Parameter(name="--dry-run", help="Read and check everything, say what would come, and write nothing.", negative=""),
]
IntoExisting = Annotated[
    bool,
    Parameter(help="Add to an application that exists and was not made by an import; its settings stay.", negative=""),
]
KeysFile = Annotated[
    Path | None, Parameter(help="Where new keys are written, with mode 0600; beside FILE with `.keys` if not given.")
]
_LINES_ARE_PRINTED_EVERY = 100_000


@imports.command
def passwordless(
    file: Annotated[Path, Parameter(help="The SQLite database of a Passwordless.dev server.")],
    /,
    *,
    app: Annotated[
        list[str] | None, Parameter(name="--app", help="Only this application; repeat for more.", negative="")
    ] = None,
    keys: Annotated[
        Literal["keep", "new"],
        Parameter(help="Let the old keys go on working, or draw new ones, which are written to a file."),
    ] = "keep",
    keys_file: KeysFile = None,
    into_existing: IntoExisting = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Bring applications from the database of a Passwordless.dev server: users, passkeys, aliases, keys and settings.

    The file is only read. An import that was interrupted goes on when it is started again. What is here already
    stays as it is.
    """
    from narthex.adapters.reference_database import ReferenceDatabase
    from narthex.usecases.arrival import Terms
    from narthex.usecases.reference_import import chosen_applications, import_reference

    terms = Terms(into_existing=into_existing, dry_run=dry_run)
    ledger = _ledger(file, keys_file)
    with ReferenceDatabase(file) as source:
        chosen = chosen_applications(source, app or ())
        totals = {
            name: {"credentials": source.count("Credentials", name), "aliases": source.count("Aliases", name)}
            for name in chosen
        }

        async def act(call: Any) -> list[ApplicationReport]:
            with _progress(totals) as advance:
                return [
                    await import_reference(call, source, name, keys=keys, ledger=ledger, terms=terms, advance=advance)
                    for name in chosen
                ]

        _, reports = operate(config, act)
    _tell(reports, ledger, as_json=as_json)


@imports.command
def archive(
    file: Annotated[Path, Parameter(help="An archive that `narthex export` wrote.")],
    /,
    *,
    rename: Annotated[
        str | None, Parameter(name="--as", help="Another id for the application; keys and hashed aliases stay behind.")
    ] = None,
    keys: Annotated[
        Literal["keep", "new", "keep-or-new"],
        Parameter(
            help="Let old keys go on working where they can and leave out the others, draw new ones for all, "
            "or draw new ones for the others only. What is drawn is written to a file."
        ),
    ] = "keep",
    keys_file: KeysFile = None,
    into_existing: IntoExisting = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Bring an application from an archive. It is read to its end and checked before anything is written.

    An import that was interrupted goes on when it is started again. What is here already stays as it is.
    """
    from narthex.adapters.archive_file import ArchiveReader
    from narthex.usecases.archive_import import import_archive, verify_archive
    from narthex.usecases.arrival import Terms

    terms = Terms(into_existing=into_existing, dry_run=dry_run)
    ledger = _ledger(file, keys_file)
    with ArchiveReader(file) as reader:
        verified = verify_archive(reader.lines())
        assert verified.header is not None
        name = rename or verified.header.application
        counts = verified.counts
        totals = {
            name: {
                "credentials": counts.get("credential", 0),
                "aliases": counts.get("alias", 0),
                "events": counts.get("event", 0),
            }
        }

        async def act(call: Any) -> ApplicationReport:
            with _progress(totals) as advance:
                return await import_archive(
                    call,
                    reader.lines(),
                    verified,
                    app_id=rename,
                    keys=keys,
                    ledger=ledger,
                    terms=terms,
                    advance=advance,
                )

        _, report = operate(config, act)
    _tell([report], ledger, as_json=as_json)


def export(
    name: Name,
    file: Annotated[Path, Parameter(help="The archive to write; until it is whole it is called FILE.partial.")],
    /,
    *,
    with_events: Annotated[bool, Parameter(help="Put the event log in as well.", negative="")] = False,
    resume: Annotated[
        bool, Parameter(help="Go on with an export that was interrupted, behind its last whole portion.", negative="")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Write an application to an archive, with everything personal that is kept of its users: guard it as you guard
    the database. Servers may run meanwhile; for a state of one moment, freeze the application first.
    """
    from narthex import __version__
    from narthex.adapters.archive_file import ArchiveWriter
    from narthex.usecases.application import get_application
    from narthex.usecases.archive_export import export_application
    from narthex.usecases.archive_line import Checker

    checker = Checker()

    async def act(call: Any) -> None:
        await get_application(call, name)  # No file is begun for one that does not exist.
        store = call.root.tenant(name)
        totals = {name: {"credentials": await store.count_credentials()}}
        with ArchiveWriter(file, resume=resume, read=checker.read) as writer, _progress(totals) as advance:
            portions = export_application(
                call, name, checker, server=__version__, with_events=with_events, advance=advance
            )
            async for portion in portions:
                writer.write(portion)
            writer.finish()

    operate(config, act)
    if as_json:
        print_json({"app_id": name, "file": str(file), "counts": checker.counts, "sha256": checker.digest})
        return
    lines = ", ".join(f"{count:,} {kind}" for kind, count in checker.counts.items() if kind != "header")
    print(f"Application {name} is in {file}: {lines}.")
    print(f"SHA-256 of its lines: {checker.digest}")


def _ledger(file: Path, keys_file: Path | None) -> SecretFile:
    from narthex.adapters.secret_file import SecretFile

    return SecretFile(keys_file or Path(f"{file}.keys"))


def _tell(reports: list[ApplicationReport], ledger: SecretFile, *, as_json: bool) -> None:
    """Print what came, and end with status 1 if an application did not."""
    if as_json:
        written = str(ledger.path) if ledger.written else None
        print_json({"applications": [_members(report) for report in reports], "keys_file": written})
    else:
        for report in reports:
            _print_report(report)
        if ledger.written:
            print(f"New secrets: {ledger.written}, in {ledger.path}. Hand them over, and delete the file.")
    if any(report.state in ("refused", "stopped") for report in reports):
        raise SystemExit(1)


def _members(report: ApplicationReport) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(report)
    return {**members, "tallies": [{"of": noun, **tally} for noun, tally in members["tallies"].items()]}


def _print_report(report: ApplicationReport) -> None:
    print(f"Application {printable(report.app_id)}: {report.state}.")
    rows = [
        (noun, f"{tally.found:,}", f"{tally.imported:,}", f"{tally.there_already:,}", f"{tally.refused:,}")
        for noun, tally in report.tallies.items()
        if tally.found
    ]
    if rows:
        checked = report.state == "checked"
        print_table(("", "FOUND", "WOULD COME" if checked else "IMPORTED", "THERE ALREADY", "REFUSED"), rows)
    for note in report.notes:
        print(printable(sentence(note)))
    for refused in report.refusals:
        which = ", ".join(refused.examples[:5]) + (", …" if refused.count > 5 else "")
        print(
            f"Refused {counted(refused.count, 'row')} of {refused.noun}: "
            f"{printable(refused.reason)} ({printable(which)})"
        )
    print()


@contextmanager
def _progress(totals: dict[str, dict[str, int]]) -> Iterator[Advance]:
    """A bar for each application at a terminal, lines elsewhere; on standard error, as nobody asked for them."""
    if not sys.stderr.isatty():
        yield _lines(totals)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def advance(app_id: str, noun: str, count: int) -> None:
            if (app_id, noun) not in tasks:
                total = totals.get(app_id, {}).get(noun)
                tasks[app_id, noun] = bars.add_task(f"{app_id}: {noun}", total=total)
            bars.advance(tasks[app_id, noun], count)

        yield advance


def _lines(totals: dict[str, dict[str, int]]) -> Advance:
    done: dict[tuple[str, str], int] = {}

    def advance(app_id: str, noun: str, count: int) -> None:
        before = done.get((app_id, noun), 0)
        now = done[app_id, noun] = before + count
        if before // _LINES_ARE_PRINTED_EVERY != now // _LINES_ARE_PRINTED_EVERY:
            total = totals.get(app_id, {}).get(noun)
            whole = f" of {total:,}" if total else ""
            print(f"{app_id}: {now:,}{whole} {noun}", file=sys.stderr)

    return advance
