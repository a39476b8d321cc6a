"""Write the reference pages that follow from tables: settings and errors.

`make docs` runs this; a test fails when a page says something else than the code.
"""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path

import narthex.http.app  # noqa: F401 - with it every room is imported, and every refusal defined
from narthex.base.errors import Refusal
from narthex.http.problems import sentence, status_of, wire_code
from narthex.http.routes.pages import refusals
from narthex.settings import SETTINGS

PAGES = Path(__file__).parent.parent / "docs" / "reference"
_WRITTEN = "<!-- Written by scripts/reference.py: `make docs` writes it anew. -->"


def settings_page() -> str:
    """Every setting: variable, name in the file, default, meaning."""
    rows = "\n".join(
        f"| `{row.variable}` | `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
        for row in SETTINGS
    )
    return f"""{_WRITTEN}
# Settings

A setting comes from the environment, or from a TOML file that `--config FILE` or `NARTHEX_CONFIG` names.
The environment wins.
A setting that is missing or wrong stops the start with one sentence that names it.
`narthex settings` prints all of them with the values they have now, secrets left out.
`narthex doctor` checks what depends on them.

| variable | in the file | default | meaning |
|---|---|---|---|
{rows}

The same in a file:

```toml
# narthex.toml
database_url = "postgresql://narthex@db.internal/narthex"
public_url = "https://passkeys.example.com"
listen = "0.0.0.0:8470"
workers = 2
trusted_proxies = ["10.0.0.0/8"]
```

`narthex dev`, which `make serve` runs, reads none of them: it is for trying things on one machine.
"""


def errors_page() -> str:
    """Every error: code, status, cause, remedy."""
    rows = "\n".join(_row(kind) for kind in refusals())
    return f"""{_WRITTEN}
# Errors

A refusal is a problem document (RFC 9457), `application/problem+json`.
`type` is the address of the page `/errors` of your own server, at the error's code.
`errorCode` never changes its meaning; `title` and `detail` are for people and may change.
`traceId` finds the request in the server's log.
When the verification of a ceremony refuses it, `errorCode` is `fido2_invalid_registration` or
`signin_complete_error`, and `reason` holds the code of the check that did.
When an application's authenticator policy refuses a passkey that was verified, `errorCode` is the policy's own
(`authenticator_not_allowed`, `attestation_required` …), and there is no `reason`.

| `errorCode` or `reason` | status | cause | what to do |
|---|---|---|---|
{rows}
"""


def _row(kind: type[Refusal]) -> str:
    cause = " ".join(cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    remedy = sentence(kind.advice) if kind.advice else ""
    spec = f" ({kind.spec})" if kind.spec else ""
    return f"| `{wire_code(kind.code)}` | {status_of(kind)} | {cause}{spec} | {remedy} |"


def pages() -> dict[str, str]:
    """By file name: what the page must say."""
    return {"settings.md": settings_page(), "errors.md": errors_page()}


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
