"""Why we and two other implementations may disagree: whatever is not here is a finding.

``LAX``: we refuse, an oracle accepts. A row names our refusal (and perhaps a part of its words), who accepts, why, and
where that is said: a text of docs/divergences.md, or the part of Level 3 that the oracle does not check. Refusals
without a row (another challenge, another relying party, no user, a signature that does not fit, …) must never be
accepted by anybody.

``STRICT``: we accept, an oracle refuses. A row names the oracle and a part of what it says.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509

from tests.fuzz.ceremonies import steady_root
from tests.fuzz.judges import Verdict
from tests.fuzz.mutations import Ceremony

W, F = frozenset({"webauthn"}), frozenset({"fido2"})
BOTH = W | F
PSS = (-37, -38, -39)


def always(ceremony: Ceremony) -> bool:
    return True


def with_pss(ceremony: Ceremony) -> bool:
    return ceremony.alg in PSS


def claims(*formats: str) -> Callable[[Ceremony], bool]:
    """The format that the answer names, whatever it was made as."""
    return lambda ceremony: _claimed(ceremony) in formats


def anchored_at_the_leaf(ceremony: Ceremony) -> bool:
    """Whether the root issued the first certificate, whatever comes with it."""
    attestation = _attestation(ceremony)
    try:
        leaf = x509.load_der_x509_certificate(attestation["attStmt"]["x5c"][0])
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(steady_root()))
    except Exception:  # whatever it raises, it is not
        return False
    return True


def _claimed(ceremony: Ceremony) -> str | None:
    fmt = _attestation(ceremony).get("fmt")
    return fmt if isinstance(fmt, str) else None


def _attestation(ceremony: Ceremony) -> dict[Any, Any]:
    """The attestation object, read as leniently as can be."""
    text = ceremony.message["response"].get("attestationObject", "")
    try:
        item = cbor2.loads(urlsafe_b64decode(text + "==="))
    except Exception:  # whatever it raises, it could read none
        return {}
    return item if isinstance(item, dict) else {}


@dataclass(frozen=True)
class Lax:
    """A refusal of ours that others do not share."""

    code: str
    oracles: frozenset[str]
    reason: str
    where: str
    """A text of docs/divergences.md, or an anchor: `L3 #…`."""
    words: str = ""
    when: Callable[[Ceremony], bool] = always

    def explains(self, ours: Verdict, oracle: str, ceremony: Ceremony) -> bool:
        told = ours.code == self.code and self.words in ours.words
        return told and oracle in self.oracles and self.when(ceremony)

    def __str__(self) -> str:
        return f"{self.code} {f'(… {self.words} …)' if self.words else ''}".rstrip()


@dataclass(frozen=True)
class Strict:
    """A refusal of an oracle that we do not share."""

    oracle: str
    words: str
    """A part of what it says, its causes included."""
    reason: str
    where: str
    when: Callable[[Ceremony], bool] = always

    def explains(self, theirs: Verdict, oracle: str, ceremony: Ceremony) -> bool:
        return oracle == self.oracle and self.words in theirs.words and self.when(ceremony)

    def __str__(self) -> str:
        return f"{self.oracle} says: {self.words}"


ANDROID_KEY = claims("android-key")
UNJUDGED = "fido2 does not verify this format"
PARSERS = "they hand the text to a JSON parser and look no further"
CBOR = "**CBOR** is what CTAP2 allows"
MEMBERS = "**An attestation object, and a statement of a known format, has exactly its members**"
KEY = "**A COSE key has exactly the members its algorithm needs**"
PATHS = "Attestation paths are checked for dates, names, signatures and constraints"
SAFETYNET = "**An `android-safetynet` answer was made in the minute before**"
TPM = "**Both structures of a `tpm` statement are read to their last byte**"
U2F = "**A `fido-u2f` statement is about an ES256 key**"
TWICE = "**Client data with a member twice, at any level, is refused**"
SPELLING = "**Base64url has one spelling"
REGISTERING = "L3 #sctn-registering-a-new-credential"

LAX = (
    # the JSON outside
    Lax("malformed", BOTH, "they decode base64url and skip what they do not know", SPELLING, "base64url text"),
    Lax(
        "credential-id-mismatch",
        BOTH,
        "Level 3 does not compare the two",
        "**A registration's `rawId` must be the attested credential id**",
        "than the authenticator made",
    ),
    Lax(
        "credential-id-mismatch",
        W,
        "it is given a key and does not ask whose",
        "L3 #sctn-verifying-assertion",
        "than the one that was found",
    ),
    Lax(
        "user-handle-mismatch",
        BOTH,
        "they do not look at the handle",
        "a handle that is sent must be the record's, and an empty one is refused",
    ),
    # client data
    Lax("client-data-malformed", BOTH, PARSERS, "**Client data with a byte order mark is refused**", "byte order mark"),
    Lax("client-data-malformed", BOTH, PARSERS, TWICE, "a member twice"),
    Lax("client-data-malformed", BOTH, PARSERS, TWICE, "which is not JSON"),
    Lax("client-data-malformed", BOTH, PARSERS, TWICE, "lone surrogate"),
    Lax("client-data-malformed", BOTH, PARSERS, TWICE, "is larger than"),
    Lax("client-data-malformed", BOTH, PARSERS, TWICE, "is nested deeper than"),
    Lax(
        "client-data-malformed",
        BOTH,
        "they decode base64url and skip what they do not know",
        "**The challenge has one spelling**",
        "a challenge that is not canonical",
    ),
    Lax(
        "client-data-malformed",
        BOTH,
        "they do not read it",
        "**`topOrigin` without `crossOrigin: true` is refused**",
        "although it is not cross-origin",
    ),
    Lax("client-data-malformed", BOTH, "they do not read it", "L3 #dictionary-client-data", "no text `topOrigin`"),
    Lax("client-data-malformed", BOTH, "they take anything", "L3 #dictionary-client-data", "not a boolean"),
    Lax("client-data-malformed", BOTH, "they do not read it", "**`tokenBinding`** of Level 2", "`tokenBinding`"),
    Lax(
        "cross-origin-not-allowed",
        BOTH,
        "they do not look",
        "**A cross-origin ceremony is refused unless top origins are configured**",
    ),
    Lax("origin-malformed", F, "any host under the rp id will do", "L3 #sctn-validating-origin"),
    Lax("origin-not-allowed", F, "any host under the rp id will do", "L3 #sctn-validating-origin"),
    # authenticator data
    Lax("cbor-malformed", BOTH, "they give another value for it", CBOR, "a simple value"),
    Lax("cbor-malformed", W, "it reads all of RFC 8949", CBOR, "a tag"),
    Lax("cbor-malformed", W, "it reads all of RFC 8949", CBOR, "an indefinite length, or a reserved head"),
    Lax("cbor-malformed", BOTH, "they nest further", CBOR, "is nested too deeply"),
    Lax("cbor-malformed", BOTH, "they set no limit", CBOR, "more than"),
    Lax("cbor-malformed", BOTH, "they set no limit", CBOR, "is larger than"),
    Lax("cbor-malformed", BOTH, "they take any key", CBOR, "neither integer nor text"),
    Lax("cbor-malformed", F, "the last of them counts", CBOR, "a duplicate key"),
    Lax("cbor-malformed", F, "it takes the bytes that are left", CBOR, "is cut off"),
    Lax("cbor-malformed", W, "it reads the first item and leaves the rest", CBOR, "follow the CBOR item"),
    Lax(
        "authenticator-data-malformed",
        BOTH,
        "they take any length",
        "L3 #sctn-attested-credential-data",
        "credential id has",
    ),
    Lax(
        "authenticator-data-malformed",
        BOTH,
        "they take any item",
        "L3 #sctn-authenticator-data",
        "extensions are not a map",
    ),
    Lax("authenticator-data-malformed", BOTH, "they set no limit", "has at most 4 KiB", "is larger than"),
    Lax(
        "authenticator-data-malformed",
        W,
        "it encodes again what it read, and goes by that length",
        "L3 #sctn-authenticator-data",
        "follow the authenticator data",
    ),
    Lax("backup-state-invalid", F, "it does not look at these flags", "L3 #sctn-credential-backup"),
    Lax("backup-eligibility-changed", BOTH, "they keep no such record", "L3 #sctn-credential-backup"),
    Lax(
        "attested-credential-data-unexpected",
        BOTH,
        "they ignore it",
        "**An assertion that carries attested credential data is refused**",
    ),
    Lax(
        "sign-count-decreased",
        F,
        "it leaves counters to its caller",
        "**A signature counter that does not rise is refused**",
    ),
    # the key
    Lax("public-key-malformed", BOTH, "they keep a key that they do not load", KEY),
    Lax("algorithm-unsupported", F, "it keeps a key that it cannot use", REGISTERING),
    Lax(
        "algorithm-unsupported",
        W,
        "it does not ask whether an Ed25519 certificate fits the algorithm",
        "**The attestation certificate's key must be one that a credential of `alg` could have**",
    ),
    Lax("signature-invalid", BOTH, "any salt will do", "A PSS salt is as long as its hash", when=with_pss),
    Lax("attestation-signature-invalid", BOTH, "any salt will do", "A PSS salt is as long as its hash", when=with_pss),
    # attestation
    Lax("attestation-object-malformed", BOTH, "they read the members that they know", MEMBERS),
    Lax("attestation-statement-malformed", BOTH, "they read the members that they know", MEMBERS, "has not exactly"),
    Lax("attestation-statement-malformed", W, "it looks at the members that it knows", MEMBERS, "is not empty"),
    Lax("attestation-statement-malformed", W, "`True` is 1 to it", MEMBERS, "an `alg` that is not an integer"),
    Lax(
        "attestation-statement-malformed",
        BOTH,
        "they do not read it",
        "**An `apple` statement may have an `alg`**",
        "an `alg` that is not an integer",
        claims("apple"),
    ),
    Lax(
        "attestation-statement-malformed",
        BOTH,
        "what counts as nothing counts as no path",
        "L3 #sctn-packed-attestation",
        "is not a list of certificates",
        claims("packed"),
    ),
    Lax(
        "attestation-statement-malformed",
        F,
        "it looks at the first",
        "L3 #sctn-fido-u2f-attestation",
        "more than one certificate",
    ),
    Lax("attestation-statement-malformed", F, "it does not look", "L3 #sctn-tpm-attestation", "of version"),
    Lax("attestation-statement-malformed", BOTH, "they do not look, or take anything", SAFETYNET, "names no version"),
    Lax("attestation-statement-malformed", BOTH, PARSERS, SAFETYNET, "SafetyNet answer"),
    Lax("attestation-statement-malformed", BOTH, "they stop before the end", TPM, "bytes follow"),
    Lax("attestation-statement-malformed", BOTH, "they stop before the end", TPM, "is cut off"),
    Lax("attestation-statement-malformed", BOTH, "they do not look", TPM, "that no credential key has"),
    Lax("attestation-statement-malformed", BOTH, "they do not look", TPM, "that is not for signing"),
    Lax("attestation-statement-malformed", BOTH, "they do not look", TPM, "another length than it says"),
    Lax("attestation-statement-malformed", BOTH, "they accept SHA-1 here", TPM, "of a type, or is named by a hash"),
    Lax("attestation-statement-malformed", W, "it takes other curves too", TPM, "on a curve that we do not accept"),
    Lax("attestation-statement-malformed", BOTH, "they set no limit", TPM, "has a field of more than"),
    Lax(
        "attestation-algorithm-mismatch",
        W,
        "it does not ask whether the certificate fits the algorithm",
        "**The attestation certificate's key must be one that a credential of `alg` could have**",
    ),
    Lax(
        "attestation-algorithm-mismatch",
        BOTH,
        "they go by the coordinates",
        U2F,
        "not of ES256",
    ),
    Lax(
        "attestation-certificate-invalid",
        W,
        "it does not look at the certificate's content",
        "L3 #sctn-packed-attestation-cert-requirements",
        when=claims("packed"),
    ),
    Lax(
        "attestation-certificate-invalid",
        F,
        "any text will do",
        "L3 #sctn-packed-attestation-cert-requirements",
        when=claims("packed"),
    ),
    Lax(
        "attestation-certificate-invalid",
        BOTH,
        "they look at a part of the certificate",
        "L3 #sctn-tpm-cert-requirements",
        when=claims("tpm"),
    ),
    Lax(
        "attestation-certificate-invalid",
        W,
        "it looks at what the hardware enforces alone",
        "**An `android-key` statement counts what the system enforces together",
        when=ANDROID_KEY,
    ),
    Lax(
        "attestation-certificate-invalid",
        BOTH,
        "they go by the common name of the subject",
        "**SafetyNet's certificate is known by its host name**",
        "attest.android.com",
    ),
    Lax("attestation-key-mismatch", F, "it does not compare", "L3 #sctn-apple-anonymous-attestation"),
    Lax(
        "attestation-nonce-mismatch",
        BOTH,
        "they skip six bytes before the nonce unread",
        "L3 #sctn-apple-anonymous-attestation",
        when=claims("apple"),
    ),
    Lax("aaguid-mismatch", BOTH, "they do not look, or not at the length", "L3 #sctn-packed-attestation", "issued for"),
    Lax("certificate-malformed", BOTH, "they read no further than they must", PATHS, "certificate cannot be read"),
    Lax("certificate-malformed", W, "it reads BER", "describes its key in strict DER", when=ANDROID_KEY),
    Lax("trust-path-invalid", BOTH, "fido2 checks signatures alone, webauthn finds another path", PATHS),
    Lax("attestation-untrusted", F, "it compares no names", PATHS),
    Lax(
        "attestation-untrusted",
        W,
        "OpenSSL takes capitals and small letters for the same",
        "**The names of an issuer and of what it issued are compared exactly**",
    ),
    Lax("attestation-time-invalid", BOTH, "they do not look, or have other limits", SAFETYNET),
    Lax("device-not-sound", W, "it looks at another member", SAFETYNET),
    Lax("jws-malformed", BOTH, "they decode base64url and skip what they do not know", SAFETYNET),
    Lax("jws-algorithm-not-allowed", F, "any algorithm that the certificate can make will do", SAFETYNET),
    # fido2 has no verification of this one
    *(
        Lax(code, F, UNJUDGED, "L3 #sctn-android-key-attestation", when=ANDROID_KEY)
        for code in (
            "attestation-statement-malformed",
            "attestation-algorithm-mismatch",
            "attestation-signature-invalid",
            "attestation-certificate-invalid",
            "attestation-key-mismatch",
            "attestation-nonce-mismatch",
            "certificate-malformed",
        )
    ),
)

TOLERANT_CBOR = "nor that heads are the\n  shortest possible"
UNKNOWN = "it does not know the algorithm"
ABOVE = "**What comes above the certificate that an anchor issued"
IDS = "**`id` may be padded** base64url"
STRICT = (
    Strict("webauthn", "Unsupported credential public key alg", UNKNOWN, "L3 #sctn-alg-identifier"),
    Strict("webauthn", "Unrecognized EC2 signature alg", UNKNOWN, "L3 #sctn-alg-identifier"),
    Strict("webauthn", "OKP public key with alg", UNKNOWN, "L3 #sctn-alg-identifier"),
    Strict(
        "fido2",
        "Signature verification not supported",
        "it knows the name of the algorithm and not how to verify it",
        "L3 #sctn-alg-identifier",
    ),
    Strict(
        "fido2",
        "Wrong algorithm of public key",
        UNKNOWN,
        "L3 #sctn-alg-identifier",
        lambda c: c.alg in (-258, -259, -38, -39),
    ),
    Strict(
        "fido2", "Creation from cryptography not supported", UNKNOWN, "L3 #sctn-alg-identifier", claims("tpm", "packed")
    ),
    Strict("webauthn", "id and raw_id were not equivalent", "it compares texts", IDS),
    Strict("fido2", "id does not match rawId", "it compares texts", IDS),
    Strict(
        "webauthn",
        "Unexpected client data origin",
        "it compares texts",
        "**An origin in capitals, or with its default port, is the same origin.**",
    ),
    Strict("webauthn", "Leftover bytes detected", "it encodes again what it read, and compares lengths", TOLERANT_CBOR),
    Strict("fido2", "Invalid additional information", "it reads no floats", "**CBOR** is what CTAP2 allows"),
    Strict("fido2", "Wrong length", "it encodes again what it read, and reads no floats", TOLERANT_CBOR),
    Strict(
        "webauthn",
        'common name was not "attest.android.com"',
        "it goes by the common name",
        "**SafetyNet's certificate is known by its host name**",
    ),
    Strict(
        "fido2",
        "Certificate not issued to attest.android.com",
        "it goes by the common name",
        "**SafetyNet's certificate is known by its host name**",
    ),
    Strict(
        "webauthn",
        "Could not verify device integrity",
        "it asks for a member that `ctsProfileMatch` includes",
        "**SafetyNet's certificate is known by its host name**",
    ),
    *(
        Strict(
            "webauthn",
            words,
            "it looks at what the hardware enforces alone",
            "**An `android-key` statement counts what the system enforces together",
            ANDROID_KEY,
        )
        for words in ("teeEnforced.", "on ASN.1 schema object")
    ),
    Strict("webauthn", "was not expected 00000000-0000-0000-0000-000000000000", "it wants zeros", U2F),
    Strict(
        "webauthn",
        "Unrecognized TPM Manufacturer",
        "it has a registry",
        "**The TPM manufacturer in a `tpm` certificate may be any**",
    ),
    *(
        Strict("webauthn", words, "it looks further up, or wants the root to come along", ABOVE, anchored_at_the_leaf)
        for words in (
            "unable to get issuer certificate",
            "unable to get local issuer certificate",
            "x5c was empty",
            "x5c root certificate was not a known root certificate",
        )
    ),
    Strict(
        "webauthn",
        "not in asn1Spec",
        "it knows the fields of some versions",
        "L3 #sctn-android-key-attestation",
        ANDROID_KEY,
    ),
    Strict(
        "webauthn",
        "Short substrate on input",
        "it also reads the fields that nobody judges, in a certificate that the device's keystore has signed",
        "L3 #sctn-android-key-attestation",
        ANDROID_KEY,
    ),
    Strict("fido2", "Above the leaf", "it looks further up", ABOVE, anchored_at_the_leaf),
    Strict(
        "webauthn",
        "asn1 encoding routines",
        "OpenSSL refuses some types of text in names",
        "**A name in a certificate may be a text of any type**",
    ),
    Strict(
        "fido2",
        "attributes is not format",
        "it refuses reserved bits",
        "**What a TPM says of a key beyond the key itself is not judged**",
    ),
)


def explain(ours: Verdict, theirs: Verdict, oracle: str, ceremony: Ceremony) -> Lax | Strict | None:
    """The row for a disagreement; None if nothing explains it."""
    rows: Iterable[Lax | Strict] = STRICT if ours.accepted else LAX
    verdict = theirs if ours.accepted else ours
    return next((row for row in rows if row.explains(verdict, oracle, ceremony)), None)
