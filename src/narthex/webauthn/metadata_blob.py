"""The Metadata BLOB of the FIDO Alliance: who signed it, and then what it says.

FIDO Metadata Service v3.1 (section 3.1, Metadata Format; section 3.2, BLOB object processing rules) and Metadata
Statement v3.1. A BLOB is a signed text (``jws``) whose certificates must lead to a root that the caller trusts. Read
strictly where trust comes from (signature, path, serial number, date), and leniently below: an entry that cannot be
read is left out (`metadata_payload`).

Where we are stricter, or looser, than the text:

* Beyond the spec: the signing certificate must bear a name. The root is that of a public web CA, under which anybody
  may have a certificate; without the name, any of them could sign metadata.
* A path counts as far as it reaches a root. Since August 2026 FIDO sends along a certificate that ties the new root
  to the old one, for readers who know the old one only; who knows the new one is there before.
* The path is judged at the end of the day of ``nextUpdate``, or now if that is earlier. An operator without internet
  keeps an old file, whose signing certificate expires at some time; refusing it then would turn "the metadata is
  old", which is a warning and a fact that policy can use (``is_stale``), into "no passkey is attested", from one day
  to the next. What is given up: who gets hold of a signing key after its certificate expired can sign metadata that
  is old; it is never fresh.
* Revocation must be checked, and lists come from outside. A list that is sound and names a certificate of the path
  refuses the BLOB, however old the list; one that is missing, expired or unsound absolves nothing, and the caller is
  told (``revocation_checked``) rather than stopped, since whoever can block a download could stop all updates.
* That the serial number never falls is for whoever keeps the last BLOB to check (section 3.2, the rule on ``no``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time

from cryptography import x509

from narthex.base.errors import Rejected, quoted
from narthex.webauthn.errors import CertificateMalformed, TrustPathInvalid
from narthex.webauthn.jws import JwsMalformed, SignedText, parse_path, verify_jws
from narthex.webauthn.metadata import Metadata
from narthex.webauthn.metadata_payload import MetadataMalformed, parse_payload, read_entries
from narthex.webauthn.revocation import MAX_REVOCATION_URLS, check_revocation, distribution_points
from narthex.webauthn.trust import Certificate, TrustVerdict, parse_certificate, verify_trust_path

MAX_BLOB_BYTES = 32 * 1024 * 1024
"""Three times what FIDO published in 2026."""
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""FIDO has signed with ES256 and RS256; the text names none."""

_SECTION = "FIDO Metadata Service v3.1 section 3.2"


class MetadataSignatureInvalid(Rejected):
    """The metadata BLOB was not signed, as it stands, by the key of its own certificate."""

    code, spec = "metadata-signature-invalid", _SECTION
    advice = "fetch the file again: it was altered or cut on its way"


class MetadataUntrusted(Rejected):
    """The certificates of the metadata BLOB do not lead from the expected signer to a trusted root."""

    code, spec = "metadata-untrusted", _SECTION
    advice = (
        "check that the file comes from FIDO, that the server's clock is right and, where a root or a signer's name "
        "is configured, that it is still theirs"
    )


def verify_metadata(
    blob: bytes, *, roots: Collection[bytes], now: datetime, crls: Collection[bytes] = (), signer: str | None = None
) -> Metadata:
    """Check who signed a BLOB, and read it.

    Section 3.2. Not done here: to fetch it, and to compare its number with that of the last one.

    Args:
        blob: a compact JWS; white space around it, as editors leave it, is ignored.
        roots: DER certificates that may vouch for the signer; none means that nobody can.
        now: instant of the call, UTC.
        crls: revocation lists in DER, each of at most MAX_CRL_BYTES, from wherever: they are verified.
        signer: the host name that the signing certificate must bear; None for any under the roots, which is only
            right for a root that issues for nothing else.
    Raises:
        MetadataMalformed, MetadataSignatureInvalid, MetadataUntrusted, MetadataSignerRevoked.
    """
    if len(blob) > MAX_BLOB_BYTES:
        raise MetadataMalformed(f"metadata is larger than {MAX_BLOB_BYTES} bytes")
    signed = _verify_signature(blob.strip())
    payload = parse_payload(signed.payload)
    at = min(now, datetime.combine(payload.next_update, time.max, UTC))
    path = _verify_path(signed.path, roots=roots, at=at)
    _check_signer(path[0], signer)
    revocation_checked = check_revocation(path, crls, now)
    return read_entries(payload, revocation_checked)


def revocation_urls(blob: bytes) -> tuple[str, ...]:
    """Where the issuers of the BLOB's certificates publish what they revoked (RFC 5280 section 4.2.1.13).

    Nothing is verified yet: these are addresses that whoever made the bytes wrote. At most MAX_REVOCATION_URLS.

    Raises:
        MetadataMalformed.
    """
    try:
        path = [parse_certificate(der) for der in parse_path(blob.strip())]
    except (JwsMalformed, CertificateMalformed) as e:
        raise MetadataMalformed(f"metadata has no readable certificates: {e.message}") from e
    found = dict.fromkeys(url for certificate in path for url in distribution_points(certificate))
    return tuple(found)[:MAX_REVOCATION_URLS]


# --- the signer -----------------------------------------------------------------------------------------------------


def _verify_signature(blob: bytes) -> SignedText:
    try:
        return verify_jws(blob, algorithms=ALGORITHMS)
    except (JwsMalformed, CertificateMalformed) as e:
        raise MetadataMalformed(f"metadata is not a signed text: {e.message}") from e
    except Rejected as e:
        raise MetadataSignatureInvalid(f"metadata is not signed as it should be: {e.message}") from e


def _verify_path(path: Sequence[bytes], *, roots: Collection[bytes], at: datetime) -> list[Certificate]:
    """The path from the leaf to the certificate that is a root itself, or that a root issued, and that root."""
    try:
        for size in range(1, len(path) + 1):
            trust = verify_trust_path(path[:size], anchors=roots, now=at)
            if trust.verdict is TrustVerdict.ANCHORED and trust.anchor is not None:
                return [parse_certificate(der) for der in dict.fromkeys((*path[:size], trust.anchor))]
    except (CertificateMalformed, TrustPathInvalid) as e:
        raise MetadataUntrusted(f"certificates of the metadata form no path: {e.message}") from e
    raise MetadataUntrusted("certificates of the metadata lead to no root that is trusted for it")


def _check_signer(leaf: Certificate, signer: str | None) -> None:
    usage = leaf.find_value(x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise MetadataUntrusted("certificate of the metadata may not be used for signatures")
    if signer is None:
        return
    names = leaf.find_value(x509.SubjectAlternativeName)
    named = [] if names is None else [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    if signer.lower() not in named:
        raise MetadataUntrusted(f"metadata is signed by {quoted(', '.join(named))}, and not by {quoted(signer)}")
