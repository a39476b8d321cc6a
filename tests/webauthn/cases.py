"""Every way in which a ceremony may go wrong, what we answer, and which other implementations let it pass.

The tables are read by ``test_registration``, ``test_authentication``, ``test_refusals`` and ``test_differential``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from tests.support.authenticator import AAGUID_EXTENSION, CertificateFaults, Lots, b64u, make_key_pair, maker
from tests.webauthn.ceremony import CHALLENGE, register

TEXT = b64u(CHALLENGE)
OTHER_KEY = make_key_pair(-7, Lots("another key"))
NEITHER: frozenset[str] = frozenset()
W, F = frozenset({"webauthn"}), frozenset({"fido2"})
BOTH = W | F


@dataclass(frozen=True)
class Case:
    name: str
    refusal: type[Refusal]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    lax: frozenset[str] | None = None
    """Which oracles accept it; None where they cannot be asked the same question."""
    expect: Mapping[str, Any] = field(default_factory=dict)
    """Expectations of the relying party that differ."""
    stored: Mapping[str, Any] = field(default_factory=dict)
    """The credential record, where it differs."""
    algorithm: int = -7

    def __str__(self) -> str:
        return self.name


def check_message(message: str) -> None:
    """Lower case but for names, no full stop, one printable line, however the input looks."""
    assert message[0].islower() or message[0].isdigit() or message.startswith(("CBOR", "SafetyNet"))
    assert not message.endswith(".")
    assert message.isprintable()
    assert len(message) < 200


def check_registration_refused(case: Case) -> None:
    with pytest.raises(case.refusal) as caught:
        register(algorithm=case.algorithm, expect=dict(case.expect), **case.knobs)
    assert type(caught.value) is case.refusal
    check_message(caught.value.message)


def edit_json(old: bytes, new: bytes) -> dict[str, Callable[[bytes], bytes]]:
    def edit(raw: bytes) -> bytes:
        assert old in raw
        return raw.replace(old, new, 1)

    return {"edit_client_data": edit}


def edit_key(changes: Mapping[int, Any], *without: int) -> dict[str, Any]:
    def edit(members: dict[Any, Any]) -> dict[Any, Any]:
        return {label: value for label, value in (members | dict(changes)).items() if label not in without}

    return {"edit_public_key": edit}


def edit_type(text: bytes) -> dict[str, Any]:
    """Another type, of both ceremonies."""

    def edit(raw: bytes) -> bytes:
        return raw.replace(b"webauthn.create", text, 1).replace(b"webauthn.get", text, 1)

    return {"edit_client_data": edit}


def edit_data(at: int, change: Callable[[int], int]) -> dict[str, Any]:
    """Another byte in the authenticator data."""
    return {"edit_authenticator_data": lambda raw: raw[:at] + bytes([change(raw[at])]) + raw[at + 1 :]}


def edit_map(changes: Mapping[str, Any], *without: str) -> Callable[[bytes], bytes]:
    def edit(raw: bytes) -> bytes:
        members = cbor2.loads(raw) | changes
        return cbor2.dumps({name: value for name, value in members.items() if name not in without})

    return edit


def edit_statement(changes: Mapping[str, Any], *without: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda members: {n: v for n, v in (members | changes).items() if n not in without}


def ber_signature(der: bytes) -> bytes:
    """The same signature with a length in long form: BER, not DER."""
    return b"\x30\x81" + der[1:]


def padded_integer(der: bytes) -> bytes:
    """The same signature with a needless zero before r."""
    r, s = decode_dss_signature(der)
    parts = [n.to_bytes(34 if n == r else 33, "big") for n in (r, s)]
    body = b"".join(b"\x02" + bytes([len(part)]) + part for part in parts)
    return b"\x30" + bytes([len(body)]) + body


def certified(faults: CertificateFaults, **knobs: Any) -> dict[str, Any]:
    return {"attestation": "packed-x5c", "certificate": faults} | knobs


UNKNOWN_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
EXPIRED = CertificateFaults(not_after=datetime(2021, 1, 1, tzinfo=UTC))
NOT_YET = CertificateFaults(not_before=datetime(2030, 1, 1, tzinfo=UTC))

# --- faults that both ceremonies can have ---------------------------------------------------------------------------

SHARED = (
    Case("id is another's", no.CredentialIdMismatch, {"id": "AAAA"}, NEITHER),
    Case("id is not base64url", no.CredentialIdMismatch, {"id": "a+/="}, NEITHER),
    Case("raw id is another's", no.CredentialIdMismatch, {"raw_id": b"other", "id": b64u(b"other")}),
    # client data: what cannot be read
    Case("byte order mark", no.ClientDataMalformed, {"bom": True}, W),
    Case("not utf-8", no.ClientDataMalformed, edit_json(b"https", b"\xff\xfe"), NEITHER),
    Case("not json", no.ClientDataMalformed, edit_json(b"{", b""), NEITHER),
    Case("bytes after the json", no.ClientDataMalformed, {"edit_client_data": lambda raw: raw + b"x"}, NEITHER),
    Case("json array", no.ClientDataMalformed, {"edit_client_data": lambda raw: b"[" + raw + b"]"}, NEITHER),
    Case("origin twice", no.ClientDataMalformed, {"duplicate_member": "origin"}, BOTH),
    Case("member twice below", no.ClientDataMalformed, edit_json(b"{", b'{"x":{"a":1,"a":2},'), BOTH),
    Case(
        "escaped name is the same name", no.ClientDataMalformed, edit_json(b"{", b'{"\\u0074ype":"webauthn.x",'), BOTH
    ),
    Case("lone surrogate", no.ClientDataMalformed, edit_json(b"{", b'{"x":"\\ud800",'), BOTH),
    Case("nan", no.ClientDataMalformed, edit_json(b"{", b'{"x":NaN,'), BOTH),
    Case("infinity", no.ClientDataMalformed, edit_json(b"{", b'{"x":-Infinity,'), BOTH),
    Case("too deep", no.ClientDataMalformed, edit_json(b"{", b'{"x":' + b"[" * 40 + b"]" * 40 + b","), BOTH),
    Case("too large", no.ClientDataMalformed, {"extra_members": {"x": "y" * 20_000}}, BOTH),
    Case("no type", no.ClientDataMalformed, edit_json(b'"type"', b'"typo"'), NEITHER),
    Case("no challenge", no.ClientDataMalformed, edit_json(b'"challenge"', b'"challenger"'), NEITHER),
    Case("no origin", no.ClientDataMalformed, edit_json(b'"origin"', b'"original"'), NEITHER),
    Case("type is a number", no.ClientDataMalformed, {"extra_members": {"type": 1}}, NEITHER),
    Case("origin is null", no.ClientDataMalformed, {"extra_members": {"origin": None}}, NEITHER),
    Case("crossOrigin is a text", no.ClientDataMalformed, {"extra_members": {"crossOrigin": "no"}}, BOTH),
    Case("crossOrigin is null", no.ClientDataMalformed, {"extra_members": {"crossOrigin": None}}, BOTH),
    Case("topOrigin is a number", no.ClientDataMalformed, {"extra_members": {"topOrigin": 1}}, BOTH),
    Case("topOrigin without crossOrigin", no.ClientDataMalformed, {"top_origin": "https://example.com"}, BOTH),
    Case("token binding is a text", no.ClientDataMalformed, {"extra_members": {"tokenBinding": "x"}}, BOTH),
    Case("token binding has no status", no.ClientDataMalformed, {"extra_members": {"tokenBinding": {}}}),
    Case(
        "token binding of unknown status", no.ClientDataMalformed, {"extra_members": {"tokenBinding": {"status": []}}}
    ),
    Case(
        "token binding without id", no.ClientDataMalformed, {"extra_members": {"tokenBinding": {"status": "present"}}}
    ),
    Case("padded challenge", no.ClientDataMalformed, {"challenge_text": TEXT + "="}, BOTH),
    Case(
        "foreign character in the challenge", no.ClientDataMalformed, {"challenge_text": TEXT[:9] + "!" + TEXT[9:]}, W
    ),
    Case("standard alphabet", no.ClientDataMalformed, {"challenge_text": "+/" + TEXT[2:]}, NEITHER),
    Case("trailing bits in the challenge", no.ClientDataMalformed, {"challenge_text": TEXT[:-1] + "9"}, BOTH),
    Case("challenge is a number", no.ClientDataMalformed, {"extra_members": {"challenge": 1}}, NEITHER),
    Case("origin is a list", no.ClientDataMalformed, {"extra_members": {"origin": ["https://example.org"]}}, NEITHER),
    Case("token binding is null", no.ClientDataMalformed, {"extra_members": {"tokenBinding": None}}),
    Case(
        "token binding whose id is a number",
        no.ClientDataMalformed,
        {"extra_members": {"tokenBinding": {"status": "present", "id": 1}}},
    ),
    Case("client data empty", no.ClientDataMalformed, {"edit_client_data": lambda raw: b""}, NEITHER),
    Case("client data is an empty object", no.ClientDataMalformed, {"edit_client_data": lambda raw: b"{}"}, NEITHER),
    # client data: what is not ours
    Case("another type", no.CeremonyTypeMismatch, {"type": "payment.get"}, NEITHER),
    Case("type empty", no.CeremonyTypeMismatch, edit_type(b""), NEITHER),
    Case("type of neither ceremony", no.CeremonyTypeMismatch, edit_type(b"webauthn"), NEITHER),
    Case("type in capitals", no.CeremonyTypeMismatch, {"type": "WEBAUTHN.GET"}, NEITHER),
    Case("another challenge", no.ChallengeMismatch, {"challenge": bytes(32)}, NEITHER),
    Case("empty challenge", no.ChallengeMismatch, {"challenge": b""}, NEITHER),
    Case("longer challenge", no.ChallengeMismatch, {"challenge": CHALLENGE + b"\0"}, NEITHER),
    Case("origin empty", no.OriginMalformed, {"origin": ""}, NEITHER),
    Case("another origin", no.OriginNotAllowed, {"origin": "https://example.net"}, NEITHER),
    Case("subdomain", no.OriginNotAllowed, {"origin": "https://evil.example.org"}, F),
    Case("parent domain", no.OriginNotAllowed, {"origin": "https://org"}, NEITHER),
    Case("similar domain", no.OriginNotAllowed, {"origin": "https://notexample.org"}, NEITHER),
    Case("another port", no.OriginNotAllowed, {"origin": "https://example.org:8443"}, F),
    Case("http", no.OriginNotAllowed, {"origin": "http://example.org"}, NEITHER),
    Case("an app's origin", no.OriginNotAllowed, {"origin": "android:apk-key-hash:abc"}, NEITHER),
    Case("origin with a path", no.OriginMalformed, {"origin": "https://example.org/"}, F),
    Case("origin with a user", no.OriginMalformed, {"origin": "https://example.org@evil.example"}, NEITHER),
    Case("null origin", no.OriginMalformed, {"origin": "null"}, NEITHER),
    Case("cross origin", no.CrossOriginNotAllowed, {"cross_origin": True}, BOTH),
    Case(
        "cross origin under an unexpected page",
        no.TopOriginNotAllowed,
        {"cross_origin": True, "top_origin": "https://evil.example"},
        expect={"top_origins": ("https://example.com",)},
    ),
    Case(
        "cross origin under no page",
        no.OriginMalformed,
        {"cross_origin": True, "top_origin": "null"},
        expect={"top_origins": ("https://example.com",)},
    ),
    # authenticator data
    Case("cut off", no.AuthenticatorDataMalformed, {"edit_authenticator_data": lambda raw: raw[:36]}, NEITHER),
    Case("empty", no.AuthenticatorDataMalformed, {"edit_authenticator_data": lambda raw: b""}, NEITHER),
    Case("bytes after the data", no.AuthenticatorDataMalformed, {"trailing": b"\0"}, NEITHER),
    Case("AT without a credential", no.AuthenticatorDataMalformed, {"at": False, "reserved_flags": 0x40}, NEITHER),
    Case(
        "AT and ED without anything",
        no.AuthenticatorDataMalformed,
        {"at": False, "ed": True, "reserved_flags": 0x40},
        NEITHER,
    ),
    Case("extensions without ED", no.AuthenticatorDataMalformed, {"extensions": {"a": 1}, "ed": False}, NEITHER),
    Case("ED without extensions", no.AuthenticatorDataMalformed, {"ed": True}, NEITHER),
    Case("extensions are a number", no.AuthenticatorDataMalformed, {"extensions": 1}, BOTH),
    Case("extension named by a number", no.AuthenticatorDataMalformed, {"extensions": {1: 1}}, BOTH),
    Case("extension twice", no.CborMalformed, {"ed": True, "trailing": bytes.fromhex("a2617801617802")}, F),
    Case("extensions cut off", no.CborMalformed, {"ed": True, "trailing": bytes.fromhex("a161654161")[:-1]}, F),
    Case("another relying party", no.RpIdMismatch, {"rp_id": "example.net"}, NEITHER),
    Case("user not present", no.UserNotPresent, {"up": False}, NEITHER),
    Case("user not verified", no.UserNotVerified, {"uv": False}, expect={"user_verification_required": True}),
    Case("backed up and not eligible", no.BackupStateInvalid, {"be": False, "bs": True}, F),
)

# --- registration ---------------------------------------------------------------------------------------------------

REGISTRATIONS = (
    *SHARED,
    Case("made by the other ceremony", no.CeremonyTypeMismatch, {"type": "webauthn.get"}, NEITHER),
    Case("no credential", no.AttestedCredentialDataMissing, {"at": False}, NEITHER),
    Case(
        "no credential to attest",
        no.AttestedCredentialDataMissing,
        {"at": False, "attestation": "packed-self"},
        NEITHER,
    ),
    Case("credential without AT", no.AuthenticatorDataMalformed, edit_data(32, lambda flags: flags & ~0x40), NEITHER),
    Case("credential id longer than the data", no.AuthenticatorDataMalformed, edit_data(53, lambda size: 3), NEITHER),
    Case("credential id shorter than it says", no.AuthenticatorDataMalformed, edit_data(54, lambda size: size + 1)),
    Case("credential id longer than it says", no.CborMalformed, edit_data(54, lambda size: size - 1)),
    Case("aaguid cut off", no.AuthenticatorDataMalformed, {"edit_authenticator_data": lambda raw: raw[:45]}, NEITHER),
    Case("key missing", no.CborMalformed, {"public_key": b""}, NEITHER),
    Case("key cut off", no.CborMalformed, {"edit_authenticator_data": lambda raw: raw[:-1]}, F),
    Case("credential id too long", no.AuthenticatorDataMalformed, {"credential_id": bytes(1024)}, BOTH),
    Case("credential id empty", no.AuthenticatorDataMalformed, {"credential_id": b""}, F),
    Case(
        "credential cut off", no.AuthenticatorDataMalformed, {"edit_authenticator_data": lambda raw: raw[:60]}, NEITHER
    ),
    # attestation object
    Case("object followed by a byte", no.CborMalformed, {"edit_attestation_object": lambda raw: raw + b"\0"}, W),
    Case("object cut off", no.CborMalformed, {"edit_attestation_object": lambda raw: raw[:-1]}, F),
    Case("object tagged", no.CborMalformed, {"edit_attestation_object": lambda raw: b"\xd9\xd9\xf7" + raw}),
    Case(
        "object of indefinite length",
        no.CborMalformed,
        {"edit_attestation_object": lambda raw: b"\xbf" + raw[1:] + b"\xff"},
    ),
    Case("object too large", no.CborMalformed, {"edit_attestation_object": lambda raw: raw + bytes(70_000)}, W),
    Case("object too deep", no.CborMalformed, {"edit_statement": lambda _: {"x": [[[[1]]]]}}, BOTH),
    Case(
        "object is an array",
        no.AttestationObjectMalformed,
        {"edit_attestation_object": lambda raw: b"\x81\x01"},
        NEITHER,
    ),
    Case(
        "object without format",
        no.AttestationObjectMalformed,
        {"edit_attestation_object": edit_map({}, "fmt")},
        NEITHER,
    ),
    Case(
        "object with a member more",
        no.AttestationObjectMalformed,
        {"edit_attestation_object": edit_map({"x": 1})},
        BOTH,
    ),
    Case(
        "object without statement",
        no.AttestationObjectMalformed,
        {"edit_attestation_object": edit_map({}, "attStmt")},
        W,
    ),
    Case(
        "object without data",
        no.AttestationObjectMalformed,
        {"edit_attestation_object": edit_map({}, "authData")},
        NEITHER,
    ),
    Case("object empty", no.CborMalformed, {"edit_attestation_object": lambda raw: b""}, NEITHER),
    Case("object is an empty map", no.AttestationObjectMalformed, {"edit_attestation_object": lambda raw: b"\xa0"}),
    Case("data is a text", no.AttestationObjectMalformed, {"edit_attestation_object": edit_map({"authData": "x"})}),
    Case("data is a map", no.AttestationObjectMalformed, {"edit_attestation_object": edit_map({"authData": {}})}),
    Case("statement is null", no.AttestationObjectMalformed, {"edit_statement": lambda _: None}),
    Case("format is a number", no.AttestationObjectMalformed, {"edit_attestation_object": edit_map({"fmt": 1})}),
    Case("statement is an array", no.AttestationObjectMalformed, {"edit_statement": lambda _: []}),
    Case("statement with a number for a key", no.AttestationObjectMalformed, {"edit_statement": lambda _: {1: 1}}),
    # public key
    Case("key with a duplicate label", no.CborMalformed, {"public_key": bytes.fromhex("a203260326")}, F),
    Case("key is no map", no.PublicKeyMalformed, {"public_key": b"\x01"}, NEITHER),
    Case("key without algorithm", no.PublicKeyMalformed, edit_key({}, 3), NEITHER),
    Case("key type of another algorithm", no.PublicKeyMalformed, edit_key({1: 3}), BOTH),
    Case("curve of another algorithm", no.PublicKeyMalformed, edit_key({-1: 2})),
    Case("point off the curve", no.PublicKeyMalformed, edit_key({-3: bytes(32)})),
    Case("point compressed", no.PublicKeyMalformed, edit_key({-3: True}), BOTH),
    Case("coordinate too long", no.PublicKeyMalformed, edit_key({-2: bytes(33)})),
    Case("key with an optional member", no.PublicKeyMalformed, edit_key({4: b"x"}), BOTH),
    Case("key with its private part", no.PublicKeyMalformed, edit_key({-4: bytes(32)}), BOTH),
    Case("key label is a text", no.PublicKeyMalformed, edit_key({"alg": 1}), BOTH),  # type: ignore[dict-item]
    Case("unknown algorithm", no.AlgorithmUnsupported, edit_key({3: -65535})),
    Case("algorithm not offered", no.AlgorithmNotAllowed, expect={"algorithms": (-257,)}),
    # attestation: none and unknown
    Case("none that says something", no.AttestationStatementMalformed, {"edit_statement": lambda _: {"x": 1}}, BOTH),
    Case("unknown format", no.AttestationFormatUnsupported, {"fmt": "fido-u3f"}),
    Case("format in capitals", no.AttestationFormatUnsupported, {"fmt": "NONE"}),
    # attestation: packed by the key itself
    Case(
        "self: no signature",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({}, "sig")},
    ),
    Case(
        "self: signature is a text",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({"sig": "x"})},
    ),
    Case(
        "self: algorithm is a text",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({"alg": "x"})},
    ),
    Case(
        "self: ecdaaKeyId",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({"ecdaaKeyId": b"x"})},
        BOTH,
    ),
    Case(
        "self: another algorithm",
        no.AttestationAlgorithmMismatch,
        {"attestation": "packed-self", "statement_alg": -35},
        F,
    ),
    Case("self: tampered signature", no.AttestationSignatureInvalid, {"attestation": "packed-self", "tampered": True}),
    Case(
        "self: signed by another key",
        no.AttestationSignatureInvalid,
        {"attestation": "packed-self", "sign_with": OTHER_KEY},
    ),
    Case(
        "self: empty",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": lambda _: {}},
    ),
    Case(
        "self: no algorithm",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({}, "alg")},
    ),
    Case(
        "self: empty signature",
        no.AttestationSignatureInvalid,
        {"attestation": "packed-self", "edit_signature": lambda der: b""},
    ),
    Case(
        "self: passed off as another format",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "fmt": "fido-u2f"},
    ),
    # attestation: packed by the maker
    Case(
        "x5c: is bytes",
        no.AttestationStatementMalformed,
        {"attestation": "packed-x5c", "edit_statement": edit_statement({"x5c": b"x"})},
    ),
    Case(
        "x5c: signed by the credential instead",
        no.AttestationSignatureInvalid,
        {"attestation": "packed-self", "edit_statement": edit_statement({"x5c": [maker().der]})},
    ),
    Case(
        "x5c: root first",
        no.AttestationSignatureInvalid,
        certified(
            CertificateFaults(with_root=True),
            edit_statement=lambda members: members | {"x5c": members["x5c"][::-1]},
        ),
    ),
    Case(
        "x5c: leaf twice",
        no.TrustPathInvalid,
        certified(CertificateFaults(), edit_statement=lambda members: members | {"x5c": members["x5c"] * 2}),
    ),
    Case(
        "x5c: empty",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({"x5c": []})},
        BOTH,
    ),
    Case(
        "x5c: not bytes",
        no.AttestationStatementMalformed,
        {"attestation": "packed-self", "edit_statement": edit_statement({"x5c": ["x"]})},
    ),
    Case("x5c: no certificate", no.CertificateMalformed, certified(CertificateFaults(edit=lambda der: b"x"))),
    Case("x5c: certificate cut off", no.CertificateMalformed, certified(CertificateFaults(edit=lambda der: der[:-1]))),
    Case(
        "x5c: bytes after the certificate",
        no.CertificateMalformed,
        certified(CertificateFaults(edit=lambda der: der + b"\0")),
    ),
    Case(
        "x5c: certificate too large",
        no.CertificateMalformed,
        certified(CertificateFaults(edit=lambda der: der + bytes(17_000))),
    ),
    Case(
        "x5c: algorithm does not fit its key",
        no.AttestationAlgorithmMismatch,
        {"attestation": "packed-x5c", "statement_alg": -257},
    ),
    Case("x5c: unknown algorithm", no.AlgorithmUnsupported, {"attestation": "packed-x5c", "statement_alg": -65535}),
    Case("x5c: tampered signature", no.AttestationSignatureInvalid, {"attestation": "packed-x5c", "tampered": True}),
    Case("x5c: a CA", no.AttestationCertificateInvalid, certified(CertificateFaults(ca=True)), BOTH),
    Case("x5c: no basic constraints", no.AttestationCertificateInvalid, certified(CertificateFaults(ca=None)), BOTH),
    Case("x5c: another unit", no.AttestationCertificateInvalid, certified(CertificateFaults(unit="Sales")), BOTH),
    Case("x5c: no country", no.AttestationCertificateInvalid, certified(CertificateFaults(country=None)), BOTH),
    Case(
        "x5c: no organization", no.AttestationCertificateInvalid, certified(CertificateFaults(organization=None)), BOTH
    ),
    Case("x5c: no common name", no.AttestationCertificateInvalid, certified(CertificateFaults(common_name=None)), BOTH),
    Case(
        "x5c: critical AAGUID",
        no.AttestationCertificateInvalid,
        certified(CertificateFaults(aaguid_critical=True)),
        BOTH,
    ),
    Case("x5c: another AAGUID", no.AaguidMismatch, certified(CertificateFaults(aaguid=bytes(16))), BOTH),
    Case(
        "x5c: AAGUID not wrapped",
        no.AaguidMismatch,
        certified(
            CertificateFaults(
                aaguid=b"", extensions=((x509.UnrecognizedExtension(AAGUID_EXTENSION, bytes(range(1, 17))), False),)
            )
        ),
        BOTH,
    ),
    Case("x5c: expired", no.TrustPathInvalid, certified(EXPIRED), BOTH),
    Case("x5c: not valid yet", no.TrustPathInvalid, certified(NOT_YET), BOTH),
    Case(
        "x5c: unknown critical extension",
        no.TrustPathInvalid,
        certified(CertificateFaults(extensions=(UNKNOWN_CRITICAL,))),
        BOTH,
    ),
    Case(
        "x5c: no anchor known", no.AttestationUntrusted, certified(CertificateFaults()), expect={"trust_required": True}
    ),
    Case(
        "x5c: another maker",
        no.AttestationUntrusted,
        certified(CertificateFaults()),
        expect={"trust_required": True, "anchors": (maker("Another Root").der,)},
    ),
    Case(
        "none where trust is required",
        no.AttestationUntrusted,
        expect={"trust_required": True, "anchors": (maker().der,)},
    ),
)

# --- authentication -------------------------------------------------------------------------------------------------

ASSERTIONS = (
    *SHARED,
    Case("made by the other ceremony", no.CeremonyTypeMismatch, {"type": "webauthn.create"}, NEITHER),
    Case("credential not asked for", no.CredentialNotAllowed, expect={"allowed_credentials": (b"another",)}),
    Case("user handle of another user", no.UserHandleMismatch, {"user_handle": b"user-2"}, BOTH),
    Case("user handle empty", no.UserHandleMismatch, {"user_handle": b""}, BOTH),
    Case("no user handle", no.UserHandleMissing, {"without_user_handle": True}, expect={"user_handle_required": True}),
    Case("carries a credential", no.AttestedCredentialDataUnexpected, {"at": True}, BOTH),
    Case("backup eligibility gained", no.BackupEligibilityChanged, stored={"backup_eligible": False}, lax=BOTH),
    Case("backup eligibility lost", no.BackupEligibilityChanged, {"be": False, "bs": False}, BOTH),
    Case("tampered signature", no.SignatureInvalid, {"tampered": True}, NEITHER),
    Case("empty signature", no.SignatureInvalid, {"edit_signature": lambda der: b""}, NEITHER),
    Case("signature in BER", no.SignatureInvalid, {"edit_signature": ber_signature}, NEITHER),
    Case("signature with a padded integer", no.SignatureInvalid, {"edit_signature": padded_integer}, NEITHER),
    Case("signature followed by a byte", no.SignatureInvalid, {"edit_signature": lambda der: der + b"\0"}, NEITHER),
    Case("signed by another key", no.SignatureInvalid, {"sign_with": OTHER_KEY}, NEITHER),
    Case("pss without salt", no.SignatureInvalid, {"salt_length": 0}, BOTH, algorithm=-37),
    Case("pss with a longer salt", no.SignatureInvalid, {"salt_length": 64}, BOTH, algorithm=-37),
    Case("signed over other client data", no.SignatureInvalid, {"sign_over": lambda raw: raw[:-32] + bytes(32)}),
    Case("signed over other data", no.SignatureInvalid, {"sign_over": lambda raw: bytes(37) + raw[-32:]}),
    Case("signed over the client data alone", no.SignatureInvalid, {"sign_over": lambda raw: raw[-32:]}),
    Case("counter went down", no.SignCountDecreased, {"sign_count": 4}, F, stored={"sign_count": 5}),
    Case("counter stood still", no.SignCountDecreased, {"sign_count": 5}, F, stored={"sign_count": 5}),
    Case("counter went back to zero", no.SignCountDecreased, {"sign_count": 0}, F, stored={"sign_count": 5}),
    Case("stored key is malformed", no.PublicKeyMalformed, stored={"public_key": b"\xa0"}, lax=NEITHER),
)
