"""Templates of mails as an operator keeps them: in a directory, or in one JSON file.

In a directory each mail is a file, `magic-link.txt`, or `magic-link.de.txt` for one language. Its first line is
`Subject: …`, an empty line follows, and then the text. HTML stands beside it, in `magic-link.de.html`. A JSON file
holds a list of objects with `kind`, `locale`, `subject`, `text` and `html`, as the management API takes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from narthex.ports.records import MailTemplate

_SUBJECT = "Subject: "


def read_templates(path: Path) -> tuple[MailTemplate, ...]:
    """Read the templates at a path; what they say is checked where settings are."""
    from narthex.ports.records import MailTemplate

    try:
        if path.is_dir():
            return _read_directory(path)
        return msgspec.json.decode(path.read_bytes(), type=tuple[MailTemplate, ...])
    except OSError as e:
        raise SystemExit(f"{e.filename} cannot be read: {e.strerror}.") from None
    except UnicodeDecodeError:
        raise SystemExit(f"A file in {path} is not UTF-8.") from None
    except msgspec.MsgspecError as e:
        raise SystemExit(f"The file {path} holds no list of mail templates: {e}.") from None


def _read_directory(path: Path) -> tuple[MailTemplate, ...]:
    from narthex.ports.records import MailTemplate

    texts = sorted(path.glob("*.txt"))
    alone = {html.stem for html in path.glob("*.html")} - {text.stem for text in texts}
    if alone:
        raise SystemExit(f"{path} has {min(alone)}.html and no {min(alone)}.txt: each mail has a text.")
    templates = []
    for file in texts:
        first, _, rest = file.read_text(encoding="utf-8").partition("\n")
        if not first.startswith(_SUBJECT):
            raise SystemExit(f"The file {file} does not begin with `{_SUBJECT}` and what the mail is about.")
        kind, _, locale = file.stem.partition(".")
        html = file.with_suffix(".html")
        templates.append(
            MailTemplate(
                kind=kind,
                locale=locale,
                subject=first.removeprefix(_SUBJECT).strip(),
                text=rest.removeprefix("\r").lstrip("\n"),
                html=html.read_text(encoding="utf-8") if html.exists() else "",
            )
        )
    return tuple(templates)
