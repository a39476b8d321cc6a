"""Every parser of what strangers send, as a function of bytes that any bytes may be given to.

``TARGETS`` is the table: name → function. A target reads the bytes, or raises a Refusal; any other exception is a
crash. A new parser is a function, a row, and a file of the same name in ``corpus/``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import cbor2
import msgspec

from narthex.base.errors import Refusal
from narthex.base.values import from_base64url, to_base64url
from narthex.http.app import ROUTES
from narthex.http.body import read_body
from narthex.tokens import payloads
from narthex.tokens.sealed import NONCE_SIZE, SealingKey, TokenKind, open_sealed, seal
from narthex.webauthn import cbor
from narthex.webauthn.attestation import FORMATS as VERIFIERS
from narthex.webauthn.attestation import Evidence
from narthex.webauthn.attestation.android_key import parse_key_description
from narthex.webauthn.attestation.der import read_all, to_integer
from narthex.webauthn.attestation.tpm_structures import parse_attest, parse_public_area
from narthex.webauthn.attestation_object import PARTS, parse_attestation_object
from narthex.webauthn.authenticator_data import parse_authenticator_data
from narthex.webauthn.client_data import parse_client_data
from narthex.webauthn.cose import parse_public_key
from narthex.webauthn.jws import parse_path, verify_jws
from narthex.webauthn.metadata_blob import ALGORITHMS, revocation_urls, verify_metadata
from narthex.webauthn.origin import canonical_origin, is_rp_id_of, is_web_origin, parse_origin, parse_rp_id
from narthex.webauthn.trust import key_identifier, parse_certificate, verify_trust_path
from tests.fuzz.ceremonies import FORMATS, SteadyAuthenticator, steady_root
from tests.support.authenticator import Faults, unb64u
from tests.support.metadata import MetadataMaker
from tests.webauthn.ceremony import ORIGIN, creation_options

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Target = Callable[[bytes], object]


def run(name: str, raw: bytes) -> bool:
    """Give bytes to a target: whether they were accepted. What is no Refusal is a crash, and is raised."""
    try:
        TARGETS[name](raw)
    except Refusal:
        return False
    return True


def text_of(raw: bytes) -> str:
    """Any bytes as a text, one to one; those that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


# --- attestation statements -----------------------------------------------------------------------------------------

# The makes of ceremony whose evidence a format is given; one that signs over ES256 serves all of them.
MADE_AS = {
    "none": "none",
    "packed": "packed-x5c",
    "fido-u2f": "fido-u2f",
    "tpm": "tpm",
    "android-key": "android-key",
    "apple": "apple",
    "android-safetynet": "android-safetynet",
    "compound": "compound",
}


@cache
def honest_message(made_as: str) -> dict[str, Any]:
    """A registration that is the same in every run, made at NOW."""
    form = FORMATS.get(made_as)
    making = form.making() if form else {}
    if made_as == "android-safetynet":
        making |= {"made_at": NOW}
    authenticator = SteadyAuthenticator(seed=1, algorithm=-7, attestation=form.attestation if form else made_as)
    return authenticator.register(creation_options(), origin=ORIGIN, faults=Faults(making=making))


def honest_statement(fmt: str) -> bytes:
    """The statement of a format, in CBOR."""
    raw = unb64u(honest_message(MADE_AS[fmt])["response"]["attestationObject"])
    return cbor2.dumps(cbor2.loads(raw)["attStmt"])


@cache
def evidence_of(fmt: str) -> Evidence:
    response = honest_message(MADE_AS[fmt])["response"]
    data = parse_attestation_object(unb64u(response["attestationObject"])).authenticator_data
    return Evidence(data, sha256(unb64u(response["clientDataJSON"])).digest(), NOW)


def statement(fmt: str) -> Target:
    """Read a statement of a format, about an honest credential."""

    def target(raw: bytes) -> object:
        item = cbor.decode(raw, max_depth=cbor.MAX_DEPTH + 1)
        if fmt == "compound":
            item = {PARTS: item}
        if not isinstance(item, dict) or not all(isinstance(name, str) for name in item):
            return None
        return VERIFIERS[fmt](item, evidence_of(fmt))

    return target


# --- certificates and signed texts ----------------------------------------------------------------------------------


def certificate(raw: bytes) -> object:
    return parse_certificate(raw), key_identifier(raw)


def trust_path(raw: bytes) -> object:
    """A CBOR array of certificates."""
    path = cbor.decode(raw)
    if not isinstance(path, list) or not all(isinstance(der, bytes) for der in path):
        return None
    return verify_trust_path(path, anchors=(steady_root(),), now=NOW)


def jws(raw: bytes) -> object:
    return parse_path(raw), verify_jws(raw, algorithms=ALGORITHMS)


@cache
def publisher() -> MetadataMaker:
    return MetadataMaker()


def metadata_blob(raw: bytes) -> object:
    return revocation_urls(raw), verify_metadata(raw, roots=[publisher().root], signer=publisher().signer, now=NOW)


def metadata_payload(raw: bytes) -> object:
    """What stands behind the signature: these bytes, signed."""
    return verify_metadata(publisher().blob(payload=raw), roots=[publisher().root], now=NOW)


@cache
def honest_blob() -> bytes:
    return publisher().blob()


def revocation_list(raw: bytes) -> object:
    return verify_metadata(honest_blob(), roots=[publisher().root], crls=[raw], now=NOW)


# --- texts ----------------------------------------------------------------------------------------------------------


def origin(raw: bytes) -> object:
    parsed = parse_origin(text_of(raw))
    assert parsed == parse_origin(parsed) == canonical_origin(parsed)
    return is_web_origin(parsed), is_rp_id_of("example.org", parsed)


def expected_origin(raw: bytes) -> object:
    parsed = canonical_origin(text_of(raw))
    assert parsed == parse_origin(parsed)
    return parsed


def rp_id(raw: bytes) -> object:
    return is_rp_id_of(parse_rp_id(text_of(raw)), "https://login.example.org")


def base64url(raw: bytes) -> object:
    decoded = from_base64url(text_of(raw))
    assert raw == to_base64url(decoded).encode()
    assert decoded == from_base64url(raw) == from_base64url(raw, padding_tolerated=True)
    return decoded


def padded_base64url(raw: bytes) -> object:
    decoded = from_base64url(text_of(raw), padding_tolerated=True)
    assert raw.rstrip(b"=") == to_base64url(decoded).encode()
    return decoded


# --- tokens ---------------------------------------------------------------------------------------------------------

SHAPES: dict[TokenKind, type[Any]] = {
    TokenKind.REGISTER: payloads.RegisterToken,
    TokenKind.REGISTRATION_SESSION: payloads.RegistrationSession,
    TokenKind.SIGN_IN_SESSION: payloads.SignInSession,
    TokenKind.VERIFY: payloads.VerifyToken,
}


@cache
def sealing_key() -> SealingKey:
    return SealingKey.derive(key_id=7, app_id="demo", material=bytes(range(32)))


def sealed(raw: bytes) -> object:
    """A text that somebody sends as a token, of the kind that the first byte picks."""
    kind = list(SHAPES)[raw[0] % len(SHAPES)] if raw else TokenKind.VERIFY
    return open_sealed(text_of(raw[1:]), kind, SHAPES[kind], keys=[sealing_key()])


def sealed_payload(raw: bytes) -> object:
    """What stands behind the seal: these bytes, sealed with our own key as an older or newer server might have."""
    kind = list(SHAPES)[raw[0] % len(SHAPES)] if raw else TokenKind.VERIFY
    text = seal(msgspec.Raw(raw[1:]), kind, key=sealing_key(), nonce=bytes(NONCE_SIZE))
    return open_sealed(text, kind, SHAPES[kind], keys=[sealing_key()])


# --- request bodies -------------------------------------------------------------------------------------------------


@cache
def body_shapes() -> tuple[Any, ...]:
    """Every shape that an endpoint takes, by name."""
    shapes = {spec.body.__name__: spec.body for spec in ROUTES if spec.body is not None}
    return tuple(shapes[name] for name in sorted(shapes))


def body(raw: bytes) -> object:
    """The first byte picks the shape."""
    shapes = body_shapes()
    return read_body(raw[1:], shapes[raw[0] % len(shapes) if raw else 0])


# --- the table ------------------------------------------------------------------------------------------------------

TARGETS: dict[str, Target] = {
    "cbor": cbor.decode,
    "cose": parse_public_key,
    "client_data": parse_client_data,
    "authenticator_data": parse_authenticator_data,
    "attestation_object": parse_attestation_object,
    "statement_none": statement("none"),
    "statement_packed": statement("packed"),
    "statement_fido_u2f": statement("fido-u2f"),
    "statement_tpm": statement("tpm"),
    "statement_android_key": statement("android-key"),
    "statement_apple": statement("apple"),
    "statement_android_safetynet": statement("android-safetynet"),
    "statement_compound": statement("compound"),
    "tpm_attest": parse_attest,
    "tpm_public_area": parse_public_area,
    "key_description": parse_key_description,
    "der": read_all,
    "der_integer": to_integer,
    "certificate": certificate,
    "trust_path": trust_path,
    "jws": jws,
    "metadata_blob": metadata_blob,
    "metadata_payload": metadata_payload,
    "revocation_list": revocation_list,
    "origin": origin,
    "expected_origin": expected_origin,
    "rp_id": rp_id,
    "base64url": base64url,
    "padded_base64url": padded_base64url,
    "sealed": sealed,
    "sealed_payload": sealed_payload,
    "body": body,
}
