"""What strangers name is printed and not obeyed: a terminal acts on escape sequences, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cli.test_cli import Operator
from tests.cli.test_cli import operator as operator
from tests.cli.test_policy import BOUND, MODEL, SYNCED, Demo
from tests.cli.test_policy import demo as demo
from tests.support.metadata import MetadataMaker

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens:UserWarning")

FIDO = MetadataMaker()
ESCAPE = "\x1b[2J\x07\x9b1m\u202e\r\n"


def is_plain(printed: str) -> bool:
    return all(line.isprintable() for line in printed.split("\n"))


def test_a_model_may_be_called_anything(operator: Operator, demo: Demo, tmp_path: Path) -> None:
    root, blob = tmp_path / "root.pem", tmp_path / "blob.jwt"
    root.write_bytes(FIDO.authority.certificate.public_bytes(Encoding.PEM))
    blob.write_bytes(FIDO.blob(FIDO.entry(name=f"Key{ESCAPE}", key_protection=[ESCAPE], statuses=[ESCAPE])))
    operator.settings |= {"metadata": str(blob), "metadata_root": str(root)}
    operator.does("metadata", "update")
    for command in (("metadata", "find", "key"), ("policy", "deny", "demo", MODEL), ("policy", "show", "demo")):
        printed = operator.does(*command)
        assert "Key" in printed
        assert is_plain(printed), printed


def test_a_user_may_be_called_anything(operator: Operator, demo: Demo) -> None:
    demo.enrol((f"ann{ESCAPE}", SYNCED), (f"bob{ESCAPE}", BOUND))
    printed = operator.does("policy", "report", "demo", "--device-bound", "enforce")
    assert "locked out: ann" in printed
    assert is_plain(printed), printed


def test_an_anchor_may_be_called_anything(operator: Operator, demo: Demo, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(FIDO.authority.certificate.public_bytes(Encoding.PEM))
    printed = operator.does("policy", "trust", "demo", str(root), "--called", f"ours{ESCAPE}")
    assert is_plain(printed + operator.does("policy", "show", "demo"))
