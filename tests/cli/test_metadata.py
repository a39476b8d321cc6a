"""The FIDO metadata at the command line: got from a file, shown, looked up, and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cli.test_cli import WELL, Operator, findings
from tests.cli.test_cli import operator as operator
from tests.support.metadata import AAGUID, MetadataMaker, authority

# `main` reads `sys.argv`, as it does in a process of its own; cyclopts suspects a slip when it sees a test do that.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

FIDO = MetadataMaker()
SOMEBODY_ELSE = MetadataMaker(authority=authority("Somebody Else"))
MODEL = str(UUID(bytes=AAGUID))


def pem(maker: MetadataMaker) -> bytes:
    return maker.authority.certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def blob(operator: Operator, tmp_path: Path) -> Path:
    """The file that the settings name; the root that signs it stands in another."""
    root, path = tmp_path / "root.pem", tmp_path / "blob.jwt"
    root.write_bytes(pem(FIDO))
    operator.settings |= {"metadata": str(path), "metadata_root": str(root)}
    return path


def state(operator: Operator, **settings: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(operator.does("metadata", "show", "--json", **settings))
    return shown


# --- getting it -----------------------------------------------------------------------------------------------------


def test_metadata_is_got_from_the_file_that_the_settings_name(operator: Operator, blob: Path) -> None:
    blob.write_bytes(FIDO.blob(FIDO.entry(), {"aaguid": "none"}, number=7))
    printed = operator.does("metadata", "update")
    assert "Metadata 7 is kept: 1 models, next update 2049-12-01.\n" in printed
    assert "1 entries could not be read and were left out.\n" in printed
    kept = state(operator)
    assert {
        "source": str(blob),
        "number": 7,
        "models": 1,
        "nextUpdate": "2049-12-01",
        "stale": False,
        "keptAt": kept["keptAt"],
        "triedAt": kept["triedAt"],
        "failures": 0,
        "problem": "",
    } == kept
    assert all(kept[instant].endswith(" UTC") for instant in ("keptAt", "triedAt"))


def test_another_file_may_be_given(operator: Operator, blob: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jwt"
    other.write_bytes(FIDO.blob(number=9) + b"\n")
    assert "Metadata 9 is kept" in operator.does("metadata", "update", "--file", str(other))
    assert "Metadata 9 is not newer" in operator.does("metadata", "update", "--file", str(other), metadata="off")


@pytest.mark.parametrize("number", [8, 9])
def test_metadata_goes_back_only_when_it_is_told_to(operator: Operator, blob: Path, number: int) -> None:
    blob.write_bytes(FIDO.blob(number=9))
    operator.does("metadata", "update")
    blob.write_bytes(FIDO.blob(FIDO.entry(), FIDO.entry(aaguid=bytes(15) + b"\x01"), number=number))
    assert f"Metadata {number} is not newer than what is kept; nothing changed.\n" == operator.does(
        "metadata", "update"
    )
    assert (9, 1) == (state(operator)["number"], state(operator)["models"])
    assert f"Metadata {number} is kept: 2 models" in operator.does("metadata", "update", "--replace")
    assert (number, 2) == (state(operator)["number"], state(operator)["models"])


def test_metadata_that_is_out_of_date_is_kept_and_told(operator: Operator, blob: Path) -> None:
    blob.write_bytes(FIDO.blob(next_update="2025-01-01"))
    assert "It is out of date: newer metadata was due.\n" in operator.does("metadata", "update")
    assert state(operator)["stale"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there"),
        (b"not a blob", "not a signed text"),
        (SOMEBODY_ELSE.blob(), "lead to no root that is trusted"),
        (FIDO.blob(key=FIDO.intermediate.key), "is not signed as it should be"),
        (FIDO.blob(payload=b"{}"), "cannot be read"),
    ],
)
def test_metadata_that_is_not_good_is_a_sentence_and_is_noted(
    operator: Operator, blob: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        blob.write_bytes(content)
    assert said in operator.fails("metadata", "update")
    kept = state(operator)
    assert (None, 1) == (kept["number"], kept["failures"])
    assert said in kept["problem"]


def test_without_a_source_there_is_nothing_to_get(operator: Operator) -> None:
    done = operator.run("metadata", "update", metadata="off")
    assert 1 == done.returncode
    assert "NARTHEX_METADATA is off: give --file, or set it to an address or a file." in done.stderr
    assert "Only anchors of an application's own can prove a model." in operator.does(
        "metadata", "show", metadata="off"
    )
    assert "off" == state(operator, metadata="off")["source"]


@pytest.mark.parametrize(
    ("command", "content", "said"),
    [
        (["metadata", "update"], None, "cannot be read"),
        (["metadata", "show"], b"x", "holds no certificate in PEM form"),
        (["app", "list"], b"", "holds no certificate in PEM form"),
        (["serve"], b"x", "holds no certificate in PEM form"),
    ],
)
def test_roots_that_cannot_be_read_stop_every_command_with_a_sentence(
    operator: Operator, tmp_path: Path, command: list[str], content: bytes | None, said: str
) -> None:
    root = tmp_path / "broken.pem"
    if content is not None:
        root.write_bytes(content)
    told = operator.fails(*command, metadata=str(tmp_path / "blob.jwt"), metadata_root=str(root))
    assert said in told
    assert "NARTHEX_METADATA_ROOT" in told


# --- another signer -------------------------------------------------------------------------------------------------


def test_after_a_change_of_signer_what_is_kept_counts_for_nothing(
    operator: Operator, blob: Path, tmp_path: Path
) -> None:
    blob.write_bytes(FIDO.blob(number=50))
    operator.does("metadata", "update")
    (tmp_path / "root.pem").write_bytes(pem(SOMEBODY_ELSE))
    assert (50, 0, True) == tuple(state(operator)[name] for name in ("number", "models", "stale"))
    assert "the FIDO metadata is not used" in operator.run("metadata", "show", "--json").stderr
    blob.write_bytes(SOMEBODY_ELSE.blob(number=3))
    assert "Metadata 3 is kept: 1 models" in operator.does("metadata", "update")


def test_several_roots_may_be_trusted(operator: Operator, blob: Path, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(pem(SOMEBODY_ELSE) + pem(FIDO))
    for number, maker in enumerate((FIDO, SOMEBODY_ELSE), start=1):
        blob.write_bytes(maker.blob(number=number))
        assert f"Metadata {number} is kept" in operator.does("metadata", "update")


# --- looking at it --------------------------------------------------------------------------------------------------


def test_models_are_found_by_a_part_of_their_name_or_aaguid(operator: Operator, blob: Path) -> None:
    blob.write_bytes(
        FIDO.blob(
            FIDO.entry(name="Vendor Key 5", statuses=["FIDO_CERTIFIED_L2", "FIDO_CERTIFIED_L2"]),
            FIDO.entry(aaguid=bytes(15) + b"\x01", name="another", key_protection=("software",)),
            FIDO.entry(aaguid=None, key_identifiers=[bytes(20)], name="Vendor U2F"),
        )
    )
    operator.does("metadata", "update")
    assert [
        ["AAGUID", "NAME", "KEYS", "STATUS"],
        [MODEL, "Vendor", "Key", "5", "hardware,", "secure_element", "FIDO_CERTIFIED_L2"],
        ["-", "Vendor", "U2F", "hardware,", "secure_element", "NOT_FIDO_CERTIFIED"],
    ] == [line.split() for line in operator.does("metadata", "find", "vendor").splitlines()]
    assert MODEL in operator.does("metadata", "find", MODEL.upper()[:8])
    assert "No model in the metadata is called `nothing`" in operator.does("metadata", "find", "nothing")


def test_a_listed_model_is_called_by_its_name(operator: Operator, blob: Path) -> None:
    blob.write_bytes(FIDO.blob(FIDO.entry(name="Vendor Key 5")))
    operator.does("metadata", "update")
    operator.does("app", "create", "demo")
    assert f"{MODEL} is allowed: Vendor Key 5\n" == operator.does("policy", "allow", "demo", MODEL)
    unknown = str(UUID(int=5))
    assert f"{unknown} is denied: not in the metadata\n" == operator.does("policy", "deny", "demo", unknown)


# --- the doctor -----------------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_the_metadata(operator: Operator, blob: Path, tmp_path: Path) -> None:
    operator.does("app", "create", "demo")
    well = WELL | {"metadata": str(blob)}

    def diagnosed() -> tuple[str, str]:
        done = operator.run("doctor", **well)
        assert 0 == done.returncode, done.stdout
        (line,) = (line for line in done.stdout.splitlines() if "FIDO metadata: " in line)
        return findings(done)["FIDO metadata"], line.split("FIDO metadata: ")[1]

    assert ("warn", "none yet") == (diagnosed()[0], diagnosed()[1][:8])
    operator.fails("metadata", "update")
    assert "is not there" in diagnosed()[1]
    blob.write_bytes(FIDO.blob(number=2, next_update="2025-01-01"))
    operator.does("metadata", "update")
    assert "number 2 is out of date since 2025-01-01" in diagnosed()[1]
    blob.write_bytes(FIDO.blob(number=3))
    operator.does("metadata", "update")
    assert ("ok", "number 3, 1 models") == diagnosed()
    (tmp_path / "root.pem").write_bytes(pem(SOMEBODY_ELSE))
    mark, words = diagnosed()
    assert "warn" == mark
    assert "is not used: " in words
