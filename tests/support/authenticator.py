"""An authenticator and its browser in software: real keys, real signatures, and every fault as a knob.

    authenticator = SoftwareAuthenticator()
    created = authenticator.register(creation_options, origin="https://example.org")
    asserted = authenticator.sign_in(request_options, origin="https://example.org")

Options are the JSON forms of Level 3 (PublicKeyCredentialCreationOptionsJSON, …RequestOptionsJSON), bare or inside
``publicKey``; what comes back is what ``PublicKeyCredential.toJSON()`` gives. Without faults both are honest. A fault
is a keyword (``sign_in(options, origin=…, uv=False)``) or a ``Faults`` value; edits come in the order in which things
are made, so what is signed is the faulty thing, unless the fault is in the signature itself.

It shares no code with ``narthex.webauthn``: two readings of the specification are worth more than one.
"""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

Json = dict[str, Any]
AAGUID_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
ATTESTATION_UNIT = "Authenticator Attestation"


def b64u(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


# --- chance ---------------------------------------------------------------------------------------------------------


class Lots:
    """Random bytes; with a seed, the same ones each time."""

    def __init__(self, seed: int | str | None) -> None:
        self._state = None if seed is None else sha256(f"software authenticator {seed}".encode()).digest()

    @property
    def is_seeded(self) -> bool:
        return self._state is not None

    def draw(self, size: int) -> bytes:
        if self._state is None:
            return os.urandom(size)
        drawn = b""
        while len(drawn) < size:
            self._state = sha256(self._state).digest()
            drawn += sha256(b"draw" + self._state).digest()
        return drawn[:size]


# --- keys -----------------------------------------------------------------------------------------------------------

_ECDSA: dict[int, tuple[int, ec.EllipticCurve, hashes.HashAlgorithm]] = {
    -7: (1, ec.SECP256R1(), hashes.SHA256()),
    -35: (2, ec.SECP384R1(), hashes.SHA384()),
    -36: (3, ec.SECP521R1(), hashes.SHA512()),
    -9: (1, ec.SECP256R1(), hashes.SHA256()),
    -51: (2, ec.SECP384R1(), hashes.SHA384()),
    -52: (3, ec.SECP521R1(), hashes.SHA512()),
}
_RSA: dict[int, hashes.HashAlgorithm] = {
    -257: hashes.SHA256(),
    -258: hashes.SHA384(),
    -259: hashes.SHA512(),
    -37: hashes.SHA256(),
    -38: hashes.SHA384(),
    -39: hashes.SHA512(),
}
_MLDSA: dict[int, Any] = {-48: mldsa.MLDSA44PrivateKey, -49: mldsa.MLDSA65PrivateKey, -50: mldsa.MLDSA87PrivateKey}
ALGORITHMS = (*_ECDSA, -8, -19, -53, *_RSA, *_MLDSA)


@lru_cache(maxsize=8)
def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """RSA keys take long to make and cannot be seeded, so all authenticators of a run share one."""
    return rsa.generate_private_key(exponent, bits)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key bound to a COSE algorithm."""

    alg: int
    private: Any
    deterministic: bool = False

    def sign(self, message: bytes, *, salt_length: int | None = None) -> bytes:
        if self.alg in _ECDSA:
            digest = _ECDSA[self.alg][2]
            return self.private.sign(message, ec.ECDSA(digest, deterministic_signing=self.deterministic))
        if self.alg in (-37, -38, -39):
            digest = _RSA[self.alg]
            salt = digest.digest_size if salt_length is None else salt_length
            return self.private.sign(message, padding.PSS(padding.MGF1(digest), salt), digest)
        if self.alg in _RSA:
            return self.private.sign(message, padding.PKCS1v15(), _RSA[self.alg])
        return self.private.sign(message)

    def cose(self) -> dict[int, int | bytes]:
        public = self.private.public_key()
        if self.alg in _ECDSA:
            crv, curve, _ = _ECDSA[self.alg]
            size, numbers = (curve.key_size + 7) // 8, public.public_numbers()
            return {
                1: 2,
                3: self.alg,
                -1: crv,
                -2: numbers.x.to_bytes(size, "big"),
                -3: numbers.y.to_bytes(size, "big"),
            }
        if self.alg in _RSA:
            numbers = public.public_numbers()
            return {1: 3, 3: self.alg, -1: _minimal(numbers.n), -2: _minimal(numbers.e)}
        if self.alg in _MLDSA:
            return {1: 7, 3: self.alg, -1: public.public_bytes_raw()}
        return {1: 1, 3: self.alg, -1: 7 if self.alg == -53 else 6, -2: public.public_bytes_raw()}


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def make_key_pair(alg: int, lots: Lots | None = None) -> KeyPair:
    lots = lots or Lots(None)
    private: Any
    if alg in _ECDSA:
        curve = _ECDSA[alg][1]
        secret = int.from_bytes(lots.draw((curve.key_size + 7) // 8), "big") % (2 ** (curve.key_size - 8)) + 1
        private = ec.derive_private_key(secret, curve)
    elif alg in (-8, -19):
        private = ed25519.Ed25519PrivateKey.from_private_bytes(lots.draw(32))
    elif alg == -53:
        private = ed448.Ed448PrivateKey.from_private_bytes(lots.draw(57))
    elif alg in _RSA:
        private = rsa_key()
    else:
        private = _MLDSA[alg].from_seed_bytes(lots.draw(32))
    return KeyPair(alg, private, lots.is_seeded)


# --- a maker and its certificates -----------------------------------------------------------------------------------

NOT_BEFORE, NOT_AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)


def name_of(
    *,
    country: str | None = "SE",
    organization: str | None = "Narthex Test Authenticators",
    unit: str | None = ATTESTATION_UNIT,
    common_name: str | None = "Test Model",
) -> x509.Name:
    pairs = (
        (NameOID.COUNTRY_NAME, country),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in pairs if value is not None])


def make_certificate(
    key: Any,
    *,
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: Any,
    ca: bool | None,
    path_length: int | None = None,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    serial: int = 4711,
    digest: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008 - hashes have no state
) -> x509.Certificate:
    """Make a certificate; ``ca=None`` leaves the basic constraints out."""
    if not isinstance(issuer_key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        digest = None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, digest)


@dataclass(frozen=True, slots=True)
class Maker:
    """A manufacturer: a root key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@lru_cache(maxsize=8)
def maker(name: str = "Narthex Test Root") -> Maker:
    """The manufacturer of a name, always the same one."""
    key = make_key_pair(-7, Lots(name)).private
    subject = name_of(unit="Authenticator Attestation CA", common_name=name)
    return Maker(key, make_certificate(key, subject=subject, issuer=subject, issuer_key=key, ca=True))


@dataclass(frozen=True, slots=True)
class CertificateFaults:
    """How the attestation certificate departs from L3 #sctn-packed-attestation-cert-requirements."""

    country: str | None = "SE"
    organization: str | None = "Narthex Test Authenticators"
    unit: str | None = ATTESTATION_UNIT
    common_name: str | None = "Test Model"
    ca: bool | None = False
    not_before: datetime = NOT_BEFORE
    not_after: datetime = NOT_AFTER
    aaguid: bytes | None = None
    """AAGUID in the extension; None takes the authenticator's, b"" leaves the extension out."""
    aaguid_critical: bool = False
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    with_root: bool = False
    """Send the root along."""
    edit: Callable[[bytes], bytes] | None = None
    """Last edit of the leaf's DER."""


# --- faults ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. Every default is honest."""

    # client data
    type: str | None = None
    challenge: bytes | None = None
    challenge_text: str | None = None
    """The challenge as written: dirty or padded base64url."""
    cross_origin: bool | None = False
    """None leaves the member out."""
    top_origin: str | None = None
    extra_members: Mapping[str, Any] = field(default_factory=dict)
    duplicate_member: str | None = None
    bom: bool = False
    edit_client_data: Callable[[bytes], bytes] | None = None
    # authenticator data
    rp_id: str | None = None
    up: bool | None = None
    uv: bool | None = None
    be: bool | None = None
    bs: bool | None = None
    at: bool | None = None
    """False hides the flag and the credential; True in an assertion adds one."""
    ed: bool | None = None
    """Overrides the flag alone."""
    reserved_flags: int = 0
    sign_count: int | None = None
    aaguid: bytes | None = None
    credential_id: bytes | None = None
    """Registers under this id; may be any length."""
    edit_public_key: Callable[[dict[Any, Any]], Any] | None = None
    public_key: bytes | None = None
    extensions: Any = None
    """Authenticator extension outputs; sets ED."""
    trailing: bytes = b""
    edit_authenticator_data: Callable[[bytes], bytes] | None = None
    # attestation
    attestation: str | None = None
    fmt: str | None = None
    statement_alg: int | None = None
    edit_statement: Callable[[dict[str, Any]], Any] | None = None
    certificate: CertificateFaults = CertificateFaults()
    making: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the maker of the statement (``statements``)."""
    edit_attestation_object: Callable[[bytes], bytes] | None = None
    # signature
    sign_over: Callable[[bytes], bytes] | None = None
    """What is signed → what is signed instead."""
    tampered: bool = False
    edit_signature: Callable[[bytes], bytes] | None = None
    salt_length: int | None = None
    sign_with: KeyPair | None = None
    # the JSON outside
    id: str | None = None
    raw_id: bytes | None = None
    user_handle: bytes | None = None
    without_user_handle: bool = False
    transports: tuple[str, ...] | None = None
    cred_props_rk: bool | None = None
    padded: bool = False
    """Pad every base64url text of the JSON."""


HONEST = Faults()


@dataclass(slots=True)
class SoftwareCredential:
    """What the authenticator keeps."""

    credential_id: bytes
    key: KeyPair
    rp_id: str
    user_handle: bytes
    backup_eligible: bool
    sign_count: int = 0


class SoftwareAuthenticator:
    """An authenticator with its browser.

    Args:
        seed: the same seed gives the same keys, ids and (but for PSS) signatures.
        algorithm: COSE identifier of new keys; None takes ES256 if offered, else the first offered.
        attestation: ``none``, ``packed-self``, ``packed-x5c``, or a format of ``statements.MAKERS``.
        counts: count signatures up, as security keys do; synced passkeys stay at zero.
    """

    def __init__(
        self,
        *,
        seed: int | str | None = None,
        algorithm: int | None = None,
        attestation: str = "none",
        attestation_algorithm: int = -7,
        aaguid: bytes = bytes(range(1, 17)),
        counts: bool = False,
        user_verified: bool = True,
        backup_eligible: bool = True,
        transports: tuple[str, ...] = ("internal", "hybrid"),
    ) -> None:
        self.lots = Lots(seed)
        self.algorithm = algorithm
        self.attestation = attestation
        self.attestation_algorithm = attestation_algorithm
        self.aaguid = aaguid
        self.counts = counts
        self.user_verified = user_verified
        self.backup_eligible = backup_eligible
        self.transports = transports
        self.credentials: list[SoftwareCredential] = []

    # --- registration

    def register(self, options: Json, *, origin: str, faults: Faults = HONEST, **knobs: Any) -> Json:
        """Make a credential: RegistrationResponseJSON."""
        faults = replace(faults, **knobs)
        options = options.get("publicKey", options)
        credential = self._make_credential(options, origin, faults)
        self.credentials.append(credential)
        client_data = _client_data("webauthn.create", options["challenge"], origin, faults)
        public_key = _public_key(credential.key, faults)
        data = self._authenticator_data(credential, faults, public_key=public_key)
        attestation_object = self._attestation_object(credential, data, client_data, faults)
        return _credential_json(
            credential,
            faults,
            {
                "attestationObject": attestation_object,
                "clientDataJSON": client_data,
                "transports": list(self.transports if faults.transports is None else faults.transports),
            },
            {} if faults.cred_props_rk is None else {"credProps": {"rk": faults.cred_props_rk}},
        )

    def _make_credential(self, options: Json, origin: str, faults: Faults) -> SoftwareCredential:
        return SoftwareCredential(
            faults.credential_id if faults.credential_id is not None else self.lots.draw(32),
            make_key_pair(self._choose_algorithm(options), self.lots),
            options.get("rp", {}).get("id") or _host(origin),
            unb64u(options["user"]["id"]),
            self.backup_eligible,
        )

    def _choose_algorithm(self, options: Json) -> int:
        if self.algorithm is not None:
            return self.algorithm
        offered = [parameter["alg"] for parameter in options.get("pubKeyCredParams") or [{"alg": -7}]]
        return -7 if -7 in offered else next(alg for alg in offered if alg in ALGORITHMS)

    def _attestation_object(
        self, credential: SoftwareCredential, data: bytes, client_data: bytes, faults: Faults
    ) -> bytes:
        kind = faults.attestation or self.attestation
        fmt, statement = "packed", {}
        signed = data + sha256(client_data).digest()
        if kind == "none":
            fmt = "none"
        elif kind == "packed-self":
            statement = self._statement(credential.key, signed, faults)
        elif kind == "packed-x5c":
            key = make_key_pair(self.attestation_algorithm, Lots("attestation key"))
            statement = self._statement(key, signed, faults)
            statement["x5c"] = attestation_path(key.private, faults.aaguid or self.aaguid, faults.certificate)
        else:
            fmt, statement = kind, _make_statement(kind, credential, data, client_data, faults)
        if faults.edit_statement:
            statement = faults.edit_statement(statement)
        raw = cbor2.dumps({"fmt": faults.fmt or fmt, "attStmt": statement, "authData": data}, canonical=True)
        return faults.edit_attestation_object(raw) if faults.edit_attestation_object else raw

    def _statement(self, key: KeyPair, signed: bytes, faults: Faults) -> dict[str, Any]:
        alg = key.alg if faults.statement_alg is None else faults.statement_alg
        return {"alg": alg, "sig": _signature(key, signed, faults)}

    def _aaguid(self, faults: Faults) -> bytes:
        """A browser writes zeros for a U2F key, which has none."""
        is_u2f = (faults.attestation or self.attestation) == "fido-u2f"
        return faults.aaguid or (bytes(16) if is_u2f else self.aaguid)

    # --- authentication

    def sign_in(
        self,
        options: Json,
        *,
        origin: str,
        credential: SoftwareCredential | None = None,
        faults: Faults = HONEST,
        **knobs: Any,
    ) -> Json:
        """Use a credential: AuthenticationResponseJSON."""
        faults = replace(faults, **knobs)
        options = options.get("publicKey", options)
        credential = credential or self._find_credential(options, origin)
        if self.counts:
            credential.sign_count += 1
        client_data = _client_data("webauthn.get", options["challenge"], origin, faults)
        public_key = _public_key(credential.key, faults) if faults.at else None
        data = self._authenticator_data(credential, faults, public_key=public_key)
        signature = _signature(credential.key, data + sha256(client_data).digest(), faults)
        response: Json = {"authenticatorData": data, "clientDataJSON": client_data, "signature": signature}
        if not faults.without_user_handle:
            response["userHandle"] = credential.user_handle if faults.user_handle is None else faults.user_handle
        return _credential_json(credential, faults, response, {})

    def _find_credential(self, options: Json, origin: str) -> SoftwareCredential:
        rp_id = options.get("rpId") or _host(origin)
        allowed = {unb64u(descriptor["id"]) for descriptor in options.get("allowCredentials") or []}
        for credential in reversed(self.credentials):
            if credential.rp_id == rp_id and (not allowed or credential.credential_id in allowed):
                return credential
        raise LookupError(f"this authenticator has no credential for {rp_id}")

    # --- both

    def _authenticator_data(self, credential: SoftwareCredential, faults: Faults, *, public_key: bytes | None) -> bytes:
        hides_credential = public_key is None or faults.at is False
        flags = _flags(
            up=_unless(faults.up, True),
            uv=_unless(faults.uv, self.user_verified),
            be=_unless(faults.be, credential.backup_eligible),
            bs=_unless(faults.bs, credential.backup_eligible),
            at=not hides_credential,
            ed=_unless(faults.ed, faults.extensions is not None),
        )
        sign_count = credential.sign_count if faults.sign_count is None else faults.sign_count
        data = sha256((faults.rp_id or credential.rp_id).encode()).digest()
        data += bytes([flags | faults.reserved_flags]) + sign_count.to_bytes(4, "big")
        if not hides_credential:
            size = len(credential.credential_id).to_bytes(2, "big")
            data += self._aaguid(faults) + size + credential.credential_id + (public_key or b"")
        if faults.extensions is not None:
            data += cbor2.dumps(faults.extensions, canonical=True)
        data += faults.trailing
        return faults.edit_authenticator_data(data) if faults.edit_authenticator_data else data


def _make_statement(
    kind: str, credential: SoftwareCredential, data: bytes, client_data: bytes, faults: Faults
) -> dict[str, Any]:
    # Imported here: the makers use what is above.
    from tests.support.statements import MAKERS, Made

    made = Made(credential.key, credential.credential_id, data, sha256(client_data).digest())
    return MAKERS[kind](made, **faults.making)


def attestation_path(key: Any, aaguid: bytes, faults: CertificateFaults) -> list[bytes]:
    """The certificates of a packed statement, leaf first, issued by ``maker()``."""
    root = maker()
    extensions = faults.extensions
    named = aaguid if faults.aaguid is None else faults.aaguid
    if named:
        value = x509.UnrecognizedExtension(AAGUID_EXTENSION, b"\x04" + bytes([len(named)]) + named)
        extensions = (*extensions, (value, faults.aaguid_critical))
    leaf = make_certificate(
        key,
        subject=name_of(
            country=faults.country,
            organization=faults.organization,
            unit=faults.unit,
            common_name=faults.common_name,
        ),
        issuer=root.certificate.subject,
        issuer_key=root.key,
        ca=faults.ca,
        not_before=faults.not_before,
        not_after=faults.not_after,
        extensions=extensions,
    ).public_bytes(Encoding.DER)
    if faults.edit:
        leaf = faults.edit(leaf)
    return [leaf, root.der] if faults.with_root else [leaf]


def _unless(fault: bool | None, honest: bool) -> bool:
    return honest if fault is None else fault


def _flags(*, up: bool, uv: bool, be: bool, bs: bool, at: bool, ed: bool) -> int:
    return up | uv << 2 | be << 3 | bs << 4 | at << 6 | ed << 7


def _host(origin: str) -> str:
    return origin.split("://", 1)[-1].split("/", 1)[0].split(":", 1)[0]


def _public_key(key: KeyPair, faults: Faults) -> bytes:
    if faults.public_key is not None:
        return faults.public_key
    members: Any = key.cose()
    if faults.edit_public_key:
        members = faults.edit_public_key(members)
    return cbor2.dumps(members, canonical=True)


def _signature(key: KeyPair, signed: bytes, faults: Faults) -> bytes:
    if faults.sign_over:
        signed = faults.sign_over(signed)
    signature = (faults.sign_with or key).sign(signed, salt_length=faults.salt_length)
    if faults.tampered:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    return faults.edit_signature(signature) if faults.edit_signature else signature


def _client_data(ceremony_type: str, challenge: str, origin: str, faults: Faults) -> bytes:
    """Serialize as L3 #clientdatajson-serialization prescribes, then spoil."""
    if faults.challenge is not None:
        challenge = b64u(faults.challenge)
    members: Json = {
        "type": faults.type or ceremony_type,
        "challenge": challenge if faults.challenge_text is None else faults.challenge_text,
        "origin": origin,
    }
    if faults.cross_origin is not None:
        members["crossOrigin"] = faults.cross_origin
    if faults.top_origin is not None:
        members["topOrigin"] = faults.top_origin
    members |= faults.extra_members
    raw = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
    if faults.duplicate_member:
        again = json.dumps({faults.duplicate_member: members.get(faults.duplicate_member)}, separators=(",", ":"))
        raw = raw[:-1] + b"," + again.encode()[1:]
    if faults.bom:
        raw = b"\xef\xbb\xbf" + raw
    return faults.edit_client_data(raw) if faults.edit_client_data else raw


def _credential_json(credential: SoftwareCredential, faults: Faults, response: Json, results: Json) -> Json:
    def text(raw: bytes) -> str:
        return urlsafe_b64encode(raw).decode() if faults.padded else b64u(raw)

    raw_id = credential.credential_id if faults.raw_id is None else faults.raw_id
    return {
        "id": text(credential.credential_id) if faults.id is None else faults.id,
        "rawId": text(raw_id),
        "type": "public-key",
        "authenticatorAttachment": "platform",
        "clientExtensionResults": results,
        "response": {name: text(value) if isinstance(value, bytes) else value for name, value in response.items()},
    }
