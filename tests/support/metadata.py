"""FIDO metadata of our own: BLOBs signed under a test root.

    fido = MetadataMaker()
    blob = fido.blob(fido.entry(aaguid=authenticator.aaguid, name="Test Key", statuses=["FIDO_CERTIFIED_L2"]))
    verify_metadata(blob, roots=[fido.root], signer=fido.signer, now=NOW)

Without arguments an entry trusts the maker of `SoftwareAuthenticator(attestation="packed-x5c")`, keeps keys in a
secure element, and is not certified; without entries, a BLOB has one such entry, for the AAGUID that
`SoftwareAuthenticator()` has. Every default is honest, every part of it an argument. Nothing here is shared with
``narthex.webauthn``.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authenticator import KeyPair, Lots, b64u, make_certificate, make_key_pair, maker, name_of

AAGUID = bytes(range(1, 17))
"""That of `SoftwareAuthenticator()`."""
SIGNER = "mds.example.org"
NEXT_UPDATE = "2049-12-01"
ICON = "data:image/png;base64,iVBORw0KGgo="

Entry = dict[str, Any]
Status = str | tuple[str, str | None] | dict[str, Any]
"""A name, or (name, effective date), or a whole report."""

_JOSE = {-7: "ES256", -35: "ES384", -36: "ES512", -257: "RS256", -258: "RS384", -37: "PS256"}


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate with its key, able to issue others and to revoke them."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        name: str,
        *,
        key: Any = None,
        ca: bool | None = True,
        dns_names: Sequence[str] = (),
        crl_urls: Sequence[str] = (),
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        **more: Any,
    ) -> Authority:
        """Issue a certificate: with `ca=False`, one that may sign metadata."""
        if dns_names:
            names = x509.SubjectAlternativeName([x509.DNSName(dns_name) for dns_name in dns_names])
            extensions = (*extensions, (names, False))
        if crl_urls:
            extensions = (*extensions, (distribution_points(*crl_urls), False))
        key = key or make_key_pair(-7, Lots(f"metadata {name}")).private
        more = {"serial": sum(name.encode()), "subject": name_of(common_name=name, unit=None)} | more
        certificate = make_certificate(
            key, issuer=self.certificate.subject, issuer_key=self.key, ca=ca, extensions=extensions, **more
        )
        return Authority(certificate, key)

    def crl(
        self,
        *revoked: Authority,
        at: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        until: datetime = datetime(2049, 12, 31, tzinfo=UTC),
        issuer: x509.Name | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        digest: hashes.HashAlgorithm = hashes.SHA256(),  # noqa: B008 - hashes have no state
    ) -> bytes:
        """A revocation list in DER."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer or self.certificate.subject)
        builder = builder.last_update(at).next_update(until)
        for authority in revoked:
            one = x509.RevokedCertificateBuilder().serial_number(authority.certificate.serial_number)
            builder = builder.add_revoked_certificate(one.revocation_date(at).build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, digest).public_bytes(Encoding.DER)


def authority(name: str, *, key: Any = None, **more: Any) -> Authority:
    """A root of a name, always the same one."""
    key = key or make_key_pair(-7, Lots(f"metadata {name}")).private
    subject = name_of(common_name=name, unit=None)
    more = {"serial": sum(name.encode())} | more
    return Authority(make_certificate(key, subject=subject, issuer=subject, issuer_key=key, ca=True, **more), key)


def distribution_points(*urls: str) -> x509.CRLDistributionPoints:
    uris = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None) for uri in uris])


@dataclass(slots=True)
class MetadataMaker:
    """Whoever publishes metadata: a root, an intermediate, and a certificate that signs.

    Args:
        signer: the host name in the signing certificate.
        alg: COSE identifier of the signature.
        crl_urls: where the root and the intermediate publish what they revoked.
    """

    signer: str = SIGNER
    alg: int = -7
    crl_urls: tuple[str, ...] = ()
    authority: Authority = field(default_factory=lambda: authority("Metadata Test Root"))
    intermediate: Authority = field(init=False)
    leaf: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.intermediate = self.authority.issue("Metadata Test CA", crl_urls=self.crl_urls)
        key = make_key_pair(self.alg, Lots(f"metadata signer {self.alg}")).private
        self.leaf = self.intermediate.issue(
            "Metadata Test Signer", key=key, ca=False, dns_names=(self.signer,), crl_urls=self.crl_urls
        )

    @property
    def root(self) -> bytes:
        """DER of what a reader has to trust."""
        return self.authority.der

    @property
    def path(self) -> tuple[bytes, ...]:
        return (self.leaf.der, self.intermediate.der)

    def crls(self, *revoked: Authority) -> tuple[bytes, ...]:
        """The lists of both issuers, each with those of the revoked that it issued."""
        return tuple(
            issuer.crl(*(one for one in revoked if one.certificate.issuer == issuer.certificate.subject))
            for issuer in (self.authority, self.intermediate)
        )

    def entry(
        self,
        *,
        aaguid: bytes | None = AAGUID,
        key_identifiers: Sequence[bytes] = (),
        name: str = "Test Model",
        statuses: Sequence[Status] = ("NOT_FIDO_CERTIFIED",),
        roots: Sequence[bytes] | None = None,
        key_protection: Sequence[str] = ("hardware", "secure_element"),
        matcher_protection: Sequence[str] = ("on_chip",),
        attestation_types: Sequence[str] = ("basic_full",),
        algorithms: Sequence[str] = ("secp256r1_ecdsa_sha256_raw",),
        attachment_hint: Sequence[str] = ("external", "wired"),
        icon: str | None = ICON,
        statement: dict[str, Any] | None = None,
        **members: Any,
    ) -> Entry:
        """One entry of a BLOB; `statement` and `members` add or replace members in the spec's own names."""
        trusted = (maker().der,) if roots is None else roots
        identifier: dict[str, Any] = {"aaguid": str(UUID(bytes=aaguid))} if aaguid is not None else {}
        if key_identifiers:
            identifier = {"attestationCertificateKeyIdentifiers": [raw.hex() for raw in key_identifiers]}
        described = {
            "description": name,
            "protocolFamily": "u2f" if key_identifiers else "fido2",
            "schema": 3,
            "upv": [{"major": 1, "minor": 0}],
            "authenticationAlgorithms": list(algorithms),
            "publicKeyAlgAndEncodings": ["cose"],
            "attestationTypes": list(attestation_types),
            "keyProtection": list(key_protection),
            "matcherProtection": list(matcher_protection),
            "attachmentHint": list(attachment_hint),
            "attestationRootCertificates": [b64encode(der).decode() for der in trusted],
            "icon": icon,
        }
        return {
            **identifier,
            "metadataStatement": {**identifier, **described, **(statement or {})},
            "statusReports": [_report(status) for status in statuses],
            "timeOfLastStatusChange": "2024-01-01",
            **members,
        }

    def blob(
        self,
        *entries: Entry,
        number: int = 1,
        next_update: str | date = NEXT_UPDATE,
        path: Sequence[bytes] | None = None,
        header: dict[str, Any] | None = None,
        key: Any = None,
        payload: bytes | None = None,
        **members: Any,
    ) -> bytes:
        """A signed BLOB; what is left out is honest.

        Args:
            path: the certificates that come along, leaf first.
            header: members of the JWS header to add or replace.
            key: signs instead of the leaf's.
            payload: the whole payload as it is to be signed.
            members: members of the payload to add or replace, in the spec's own names.
        """
        content = {
            "legalHeader": "Test metadata.",
            "no": number,
            "nextUpdate": str(next_update),
            "entries": list(entries) or [self.entry()],
            **members,
        }
        x5c = [b64encode(der).decode() for der in (self.path if path is None else path)]
        protected = json.dumps({"alg": _JOSE[self.alg], "typ": "JWT", "x5c": x5c, **(header or {})}).encode()
        text = f"{b64u(protected)}.{b64u(json.dumps(content).encode() if payload is None else payload)}".encode()
        return text + b"." + b64u(_signature(KeyPair(self.alg, key or self.leaf.key), text)).encode()


def _report(status: Status) -> dict[str, Any]:
    if isinstance(status, dict):
        return status
    name, since = (status, None) if isinstance(status, str) else status
    return {"status": name} if since is None else {"status": name, "effectiveDate": since}


def _signature(key: KeyPair, text: bytes) -> bytes:
    signature = key.sign(text)
    if not isinstance(key.private, ec.EllipticCurvePrivateKey):
        return signature
    size = (key.private.curve.key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(signature))
