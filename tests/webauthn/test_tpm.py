"""The format `tpm`: an AIK certifies this key for this registration, in structures read to the last byte."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from narthex.base.errors import Refusal
from narthex.webauthn import errors as no
from narthex.webauthn.attestation import AttestationType, Evidence
from narthex.webauthn.attestation import tpm as room
from narthex.webauthn.attestation.tpm import verify_tpm
from narthex.webauthn.attestation.tpm_structures import parse_attest, parse_public_area
from narthex.webauthn.attestation_object import parse_attestation_object
from narthex.webauthn.errors import AttestationStatementMalformed
from narthex.webauthn.messages import RegistrationResponse
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import KeyPair, SoftwareAuthenticator, make_key_pair, maker, name_of, rsa_key
from tests.support.statements_tpm import (
    AIK,
    CLOCK_INFO,
    RS1,
    aik_certificate,
    attest,
    public_area,
    sized,
    tpm_name,
    u16,
)
from tests.webauthn.cases import Case, check_registration_refused, edit_statement
from tests.webauthn.ceremony import (
    NOW,
    ORIGIN,
    creation_options,
    register,
    registration_response,
    respond,
    verify_creation,
)
from tests.webauthn.oracles import accepts, fido2_registers, py_webauthn_registers
from tests.webauthn.test_mutations import replaced, spoilt, without_the_rest_of_the_path

OTHER = make_key_pair(-7)
P256 = OTHER.private.public_key()
RSA_AIK = KeyPair(-257, rsa_key())
ANCHORED = {"anchors": (maker().der,), "trust_required": True}


def tpm(**making: Any) -> dict[str, Any]:
    return {"attestation": "tpm", "making": making}


def area(**fields: Any) -> dict[str, Any]:
    return tpm(area=fields)


def info(**fields: Any) -> dict[str, Any]:
    return tpm(info=fields)


def named(**fields: str | None) -> dict[str, Any]:
    return tpm(names=(tpm_name(**fields),))


def stated(changes: dict[str, Any], *without: str) -> dict[str, Any]:
    return {"attestation": "tpm", "edit_statement": edit_statement(changes, *without)}


def more(raw: bytes) -> bytes:
    return raw + b"\0"


def less(raw: bytes) -> bytes:
    return raw[:-1]


def wind_clock(cert_info: bytes) -> bytes:
    assert CLOCK_INFO in cert_info
    return cert_info.replace(CLOCK_INFO, bytes(17))


def of_version_1(members: dict[str, Any]) -> dict[str, Any]:
    """The version left out, which means 1. The signature no longer fits, and is looked at later."""
    [leaf] = members["x5c"]
    version = bytes.fromhex("a003020102")
    assert leaf[8:13] == version
    outer, inner = (int.from_bytes(leaf[at : at + 2], "big") - len(version) for at in (2, 6))
    head = leaf[:2] + u16(outer) + leaf[4:6] + u16(inner)
    return members | {"x5c": [head + leaf[13:]]}


MALFORMED, CERTIFICATE = no.AttestationStatementMalformed, no.AttestationCertificateInvalid
MEMBERS = ("ver", "alg", "x5c", "sig", "certInfo", "pubArea")
HOST = x509.DNSName("tpm.example.org")
EMAIL = ObjectIdentifier("1.2.840.113549.1.9.1")

CASES = (
    # members
    *(Case(f"no {name}", MALFORMED, stated({}, name)) for name in MEMBERS),
    *(Case(f"{name} is a text", MALFORMED, stated({name: "x"})) for name in MEMBERS),
    Case("ecdaaKeyId, as in Level 1", MALFORMED, stated({"ecdaaKeyId": b"x"})),
    Case("TPM 1.2", MALFORMED, tpm(ver="1.2")),
    Case("x5c is empty", MALFORMED, stated({"x5c": []})),
    Case("no certificate at all", no.CertificateMalformed, stated({"x5c": [b"x"]})),
    # pubArea
    Case("pubArea empty", MALFORMED, stated({"pubArea": b""})),
    Case("pubArea cut off", MALFORMED, tpm(edit_area=less)),
    Case("bytes after pubArea", MALFORMED, tpm(edit_area=more)),
    Case("pubArea of a symmetric key", MALFORMED, area(kind=0x0025)),
    Case("pubArea of a keyed hash", MALFORMED, area(kind=0x0008)),
    Case("pubArea named by SHA-1", MALFORMED, area(name_alg=0x0004)),
    Case("pubArea with a policy longer than a digest", MALFORMED, area(policy=bytes(65))),
    Case("pubArea of a storage key", MALFORMED, area(symmetric=0x0006)),
    Case("pubArea with a scheme for exchanging keys", MALFORMED, area(scheme=u16(0x0019) + u16(0x000B))),
    Case("pubArea with a scheme of RSA", MALFORMED, area(scheme=u16(0x0014) + u16(0x000B))),
    Case("pubArea with a scheme without its hash", MALFORMED, area(scheme=u16(0x0018))),
    Case("pubArea with a key derivation", MALFORMED, area(kdf=0x0020)),
    Case("pubArea on a curve of pairings", MALFORMED, area(curve=0x0010)),
    Case("pubArea on another curve", no.AttestationKeyMismatch, area(curve=4)),
    Case("pubArea with a coordinate too long", MALFORMED, area(unique=sized(bytes(33)) + sized(bytes(32)))),
    Case("pubArea with a coordinate missing", MALFORMED, area(unique=sized(bytes(32)))),
    Case("pubArea with empty coordinates", no.AttestationKeyMismatch, area(unique=sized(b"") + sized(b""))),
    Case("pubArea of another key", no.AttestationKeyMismatch, tpm(key=P256)),
    Case("pubArea of an RSA key", no.AttestationKeyMismatch, tpm(key=rsa_key().public_key())),
    Case("pubArea of an RSA key, credential of Ed25519", no.AttestationKeyMismatch, tpm(key=P256), algorithm=-8),
    Case("RSA: another exponent", no.AttestationKeyMismatch, area(exponent=3), algorithm=-257),
    Case("RSA: another length", MALFORMED, area(bits=1024), algorithm=-257),
    Case("RSA: modulus cut off", MALFORMED, tpm(edit_area=less), algorithm=-257),
    Case("RSA: modulus too long", MALFORMED, area(unique=sized(bytes(1025))), algorithm=-257),
    Case("RSA: bytes after pubArea", MALFORMED, tpm(edit_area=more), algorithm=-257),
    Case("RSA: scheme of curves", MALFORMED, area(scheme=u16(0x0018) + u16(0x000B)), algorithm=-257),
    # certInfo
    Case("certInfo empty", MALFORMED, stated({"certInfo": b""})),
    Case("certInfo cut off", MALFORMED, tpm(edit_info=less)),
    Case("bytes after certInfo", MALFORMED, tpm(edit_info=more)),
    Case("certInfo with another magic", MALFORMED, info(magic=0xFF544348)),
    Case("certInfo is a quote", MALFORMED, info(kind=0x8018)),
    Case("certInfo with a signer longer than a name", MALFORMED, info(signer=bytes(67))),
    Case("certInfo with extra data longer than a digest", MALFORMED, info(extra_data=bytes(67))),
    Case("certInfo with a name longer than a name", MALFORMED, info(name=bytes(67))),
    Case("certInfo with a qualified name longer than a name", MALFORMED, info(qualified_name=bytes(67))),
    Case("certInfo with a clock too short", MALFORMED, info(clock_info=bytes(16))),
    Case("certInfo with other extra data", no.AttestationNonceMismatch, info(extra_data=bytes(32))),
    Case("certInfo without extra data", no.AttestationNonceMismatch, info(extra_data=b"")),
    Case("certInfo with another name", no.AttestationKeyMismatch, info(name=b"\x00\x0b" + bytes(32))),
    Case("certInfo without a name", no.AttestationKeyMismatch, info(name=b"")),
    # the signature
    Case("alg of another hash", no.AttestationNonceMismatch, tpm(alg=-35)),
    Case("alg of another key type", no.AttestationAlgorithmMismatch, tpm(alg=-257)),
    Case("alg that no TPM has", no.AlgorithmUnsupported, tpm(alg=-8)),
    Case("alg that nobody knows", no.AlgorithmUnsupported, tpm(alg=-70_000)),
    Case("alg is a truth value", MALFORMED, stated({"alg": True})),
    Case("signature empty", no.AttestationSignatureInvalid, stated({"sig": b""})),
    Case("signed by another key", no.AttestationSignatureInvalid, tpm(leaf_key=OTHER.private)),
    Case("signature over other data", no.AttestationSignatureInvalid, stated({"sig": AIK.sign(b"x")})),
    Case(
        "certInfo changed after signing",
        no.AttestationSignatureInvalid,
        {
            "attestation": "tpm",
            "edit_statement": lambda members: members | {"certInfo": wind_clock(members["certInfo"])},
        },
    ),
    Case("RS1 by a key on a curve", no.AttestationNonceMismatch, tpm(alg=RS1)),
    Case("RS1 by a short key", no.AttestationAlgorithmMismatch, tpm(aik=KeyPair(RS1, rsa_key(1024))), algorithm=-257),
    Case(
        "RS1 for the credential itself",
        no.AlgorithmUnsupported,
        tpm() | {"edit_public_key": lambda members: members | {3: RS1}},
        algorithm=-257,
    ),
    # the certificate
    Case("AIK certificate of version 1", CERTIFICATE, {"attestation": "tpm", "edit_statement": of_version_1}),
    Case("AIK with a subject", CERTIFICATE, tpm(subject=name_of())),
    Case("AIK without another name", CERTIFICATE, tpm(names=())),
    Case("AIK named as a host alone", CERTIFICATE, tpm(names=(HOST,))),
    Case("AIK without manufacturer", CERTIFICATE, named(manufacturer=None)),
    Case("AIK of a manufacturer without `id:`", CERTIFICATE, named(manufacturer="49465800")),
    Case("AIK of a manufacturer cut off", CERTIFICATE, named(manufacturer="id:4946580")),
    Case("AIK of a manufacturer by name", CERTIFICATE, named(manufacturer="Infineon")),
    Case("AIK of a manufacturer with a tail", CERTIFICATE, named(manufacturer="id:494658000")),
    Case("AIK of two manufacturers", CERTIFICATE, tpm(names=(tpm_name(), tpm_name(manufacturer="id:414D4400")))),
    Case("AIK without model", CERTIFICATE, named(model=None)),
    Case("AIK without version", CERTIFICATE, named(version=None)),
    Case("AIK without usage", CERTIFICATE, tpm(usages=())),
    Case("AIK for clients of TLS", CERTIFICATE, tpm(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))),
    Case("AIK that is an EK", CERTIFICATE, tpm(usages=(ObjectIdentifier("2.23.133.8.1"),))),
    Case("AIK that is a CA", CERTIFICATE, tpm(ca=True)),
    Case("AIK without basic constraints", CERTIFICATE, tpm(ca=None)),
    Case("AIK of another AAGUID", no.AaguidMismatch, tpm(aaguid=bytes(16))),
    Case("AIK with a critical AAGUID", CERTIFICATE, tpm(aaguid=bytes(range(1, 17)), aaguid_critical=True)),
    # the path
    Case("expired", no.TrustPathInvalid, tpm(not_after=datetime(2021, 1, 1, tzinfo=UTC))),
    Case("not valid yet", no.TrustPathInvalid, tpm(not_before=datetime(2030, 1, 1, tzinfo=UTC))),
    Case("issued by somebody else", no.TrustPathInvalid, tpm(root="Another Root", with_root=True)),
    Case(
        "unknown critical extension",
        no.TrustPathInvalid,
        tpm(extensions=((x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)),
    ),
    Case("another root", no.AttestationUntrusted, tpm(root="Another Root"), expect=ANCHORED),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_faulty_statement_is_refused(case: Case) -> None:
    check_registration_refused(case)


def test_an_honest_statement_leads_to_its_root() -> None:
    verified = register(**tpm(), expect=ANCHORED)
    assert verified.attestation.format == "tpm"
    assert verified.attestation.type is AttestationType.ATTCA
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


@pytest.mark.parametrize("algorithm", [-7, -9, -35, -36, -257, -258, -39])
def test_a_tpm_vouches_for_keys_on_nist_curves_and_of_rsa(algorithm: int) -> None:
    assert register(algorithm=algorithm, **tpm(), expect=ANCHORED).alg == algorithm


@pytest.mark.parametrize("alg", [-7, -35, -36, -257, -258, -259])
def test_an_aik_signs_with_every_hash(alg: int) -> None:
    assert register(**tpm(aik=make_key_pair(alg)), expect=ANCHORED).attestation.type is AttestationType.ATTCA


def test_an_aik_may_sign_over_sha_1_as_windows_hello_does() -> None:
    assert register(**tpm(aik=KeyPair(RS1, rsa_key())), expect=ANCHORED).attestation.format == "tpm"


def test_where_sha_1_is_switched_off_it_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def switched_off(*args: object) -> None:
        raise UnsupportedAlgorithm("SHA-1")

    monkeypatch.setattr(room, "check_signature", switched_off)
    with pytest.raises(no.AlgorithmUnsupported):
        register(**tpm(aik=KeyPair(RS1, rsa_key())))


@pytest.mark.parametrize("name_alg", [0x000B, 0x000C, 0x000D])
def test_a_key_is_named_by_any_sound_hash(name_alg: int) -> None:
    register(**area(name_alg=name_alg), expect=ANCHORED)


@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [
        (-7, {"scheme": u16(0x0018) + u16(0x000B)}),
        (-257, {"scheme": u16(0x0014) + u16(0x000B)}),
        (-37, {"scheme": u16(0x0016) + u16(0x000B)}),
        (-257, {"exponent": 65_537}),
        (-7, {"policy": bytes(32)}),
    ],
    ids=["ECDSA", "RSASSA", "RSAPSS", "exponent written out", "policy"],
)
def test_a_key_may_be_bound_to_its_use(algorithm: int, fields: dict[str, Any]) -> None:
    register(algorithm=algorithm, **area(**fields), expect=ANCHORED)


@pytest.mark.parametrize("lacking", [1 << 1, 1 << 4, 1 << 5], ids=["fixedTPM", "fixedParent", "sensitiveDataOrigin"])
def test_nobody_vouches_for_a_key_that_may_be_elsewhere(lacking: int) -> None:
    """TPM2_Certify signs about imported and exportable keys as well; their attributes tell."""
    verified = register(**area(attributes=0x0006_0472 & ~lacking), expect={"anchors": (maker().der,)})
    assert Trust(TrustVerdict.UNANCHORED) == verified.trust


def test_coordinates_may_lack_their_leading_zeros() -> None:
    key = next(
        key
        for key in (ec.derive_private_key(n, ec.SECP256R1()).public_key() for n in range(1, 10_000))
        if key.public_numbers().x < 2**248
    )
    numbers = key.public_numbers()
    short = sized(numbers.x.to_bytes(31, "big")) + sized(numbers.y.to_bytes(32, "big"))
    assert parse_public_area(public_area(key, unique=short)).key == numbers


@pytest.mark.parametrize("manufacturer", ["id:49465800", "id:4e544300", "id:FFFFF1D0", "id:00000000"])
def test_a_manufacturer_needs_no_registry(manufacturer: str) -> None:
    """The last two are of the FIDO Alliance's conformance tool, and of the specification's own test vector."""
    register(**named(manufacturer=manufacturer), expect=ANCHORED)


def test_the_tpm_may_be_named_in_several_names() -> None:
    split = (tpm_name(model=None, version=None), tpm_name(manufacturer=None), HOST)
    register(**tpm(names=split), expect=ANCHORED)


def test_a_critical_policy_is_nothing_to_us() -> None:
    """The certificates of Windows Hello have one."""
    policies = x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.3.6.1.4.1.311.21.31"), None)])
    register(**tpm(extensions=((policies, True),)), expect=ANCHORED)


def test_a_certificate_may_name_its_model() -> None:
    register(**tpm(aaguid=bytes(range(1, 17))), expect=ANCHORED)


@pytest.mark.parametrize("algorithm", [-7, -257])
def test_others_accept_it_too(algorithm: int) -> None:
    authenticator = SoftwareAuthenticator(seed=3, algorithm=algorithm)
    message = authenticator.register(creation_options(), origin=ORIGIN, **tpm(with_root=True))
    assert verify_creation(registration_response(message)).attestation.format == "tpm"
    assert accepts(py_webauthn_registers, message)
    assert accepts(fido2_registers, message)


def test_a_statement_of_another_registration_is_refused() -> None:
    """Its key is the same, for the authenticator is seeded; its client data is not."""
    kept: list[dict[str, Any]] = []
    register(attestation="tpm", edit_statement=lambda statement: kept.append(statement) or statement)
    with pytest.raises(no.AttestationNonceMismatch):
        register(attestation="tpm", cross_origin=None, edit_statement=lambda statement: kept[0])


# --- any bytes ------------------------------------------------------------------------------------------------------

HONEST = parse_attestation_object(respond(**tpm()).attestation_object)
ATTEST = attest(extra_data=bytes(32), name=b"\x00\x0b" + bytes(32))
AREAS = (public_area(P256), public_area(rsa_key().public_key()))


@pytest.mark.parametrize("parse", [parse_attest, parse_public_area])
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_structure_or_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    try:
        parse(raw)
    except AttestationStatementMalformed:
        return


@pytest.mark.parametrize(
    ("parse", "raw"),
    [(parse_attest, ATTEST), *((parse_public_area, raw) for raw in AREAS)],
    ids=["attest", "ecc", "rsa"],
)
def test_a_structure_is_read_whole_or_not_at_all(parse: Callable[[bytes], object], raw: bytes) -> None:
    parse(raw)
    for end in range(len(raw)):
        with pytest.raises(AttestationStatementMalformed):
            parse(raw[:end])


@given(st.sampled_from(AREAS), st.data())
def test_a_public_area_gives_what_it_was_made_of(raw: bytes, data: st.DataObject) -> None:
    changed = data.draw(spoilt(raw))
    try:
        area = parse_public_area(changed)
    except AttestationStatementMalformed:
        return
    assert area.name[2:] == sha256(changed).digest() or area.name[:2] != b"\x00\x0b"


ANYTHING = st.one_of(st.binary(max_size=40), st.text(max_size=8), st.integers(), st.lists(st.binary(max_size=40)))


@given(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING))
def test_any_members_are_refused(members: dict[str, Any]) -> None:
    evidence = Evidence(HONEST.authenticator_data, bytes(32), NOW)
    for statement in (members, HONEST.statement | members):
        with pytest.raises(Refusal):
            verify_tpm(statement, evidence)


@cache
def honest_response(algorithm: int) -> RegistrationResponse:
    return respond(algorithm=algorithm, **tpm(with_root=True))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([-7, -257]), st.data())
def test_a_spoilt_registration_is_refused(algorithm: int, data: st.DataObject) -> None:
    honest = honest_response(algorithm)
    changed = data.draw(spoilt(honest.attestation_object))
    try:
        verified = verify_creation(replaced(honest, "attestation_object", changed), **ANCHORED)
    except Refusal:
        return
    accepted = verify_creation(honest, **ANCHORED)
    assert without_the_rest_of_the_path(verified) == without_the_rest_of_the_path(accepted)


def test_a_certificate_is_for_the_key_that_signs() -> None:
    """An honest certificate of another AIK does not help."""
    leaf = aik_certificate(RSA_AIK.private)
    with pytest.raises(no.AttestationAlgorithmMismatch):
        register(attestation="tpm", edit_statement=lambda statement: statement | {"x5c": [leaf]})
