"""Ceremonies with something wrong in them, made from a seed.

A mutation is a function that edits a ``Draft``: the faults that the software authenticator is given, so that what is
signed is the faulty thing, or what is done to its answer afterwards. ``MUTATIONS`` names them all; a new one is a
function and a row.
"""

from __future__ import annotations

import json
import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from narthex.webauthn.authentication import StoredCredential
from tests.fuzz.bending import bend_base64url, bend_bytes, bend_cbor, bend_der, bend_json
from tests.fuzz.ceremonies import (
    CREDENTIAL_ID,
    FORMATS,
    Edit,
    Format,
    Json,
    SteadyAuthenticator,
    reissued,
    steady_key,
    steady_root,
    stored_credential,
)
from tests.support.authenticator import ALGORITHMS, CertificateFaults, Faults, b64u, make_key_pair, maker, unb64u
from tests.support.authenticator import Lots as KeyLots
from tests.support.statements import jose_signature
from tests.support.statements_tpm import AIK_USAGE, tpm_name
from tests.webauthn.ceremony import CHALLENGE, ORIGIN, USER_HANDLE, creation_options, request_options

OTHER_KEY = make_key_pair(-7, KeyLots("another key"))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF


@dataclass
class Draft:
    """A ceremony before it is made."""

    lots: Random
    is_registration: bool
    format: Format
    alg: int
    faults: Json = field(default_factory=dict)
    """Keywords of ``Faults``."""
    making: Json = field(default_factory=dict)
    after: list[Callable[[Json], None]] = field(default_factory=list)
    """What is done to the answer."""
    stored: Json = field(default_factory=dict)

    def edit(self, hook: str, edit: Callable[[Any], Any]) -> None:
        """Let an edit follow the one that the hook has."""
        self.faults[hook] = _following(self.faults.get(hook), edit)

    def edit_making(self, hook: str, edit: Edit) -> None:
        self.making[hook] = _following(self.making.get(hook), edit)


def _following(before: Callable[[Any], Any] | None, edit: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return edit if before is None else lambda value: _attempt(edit, before(value))


def _attempt(edit: Callable[[Any], Any], value: Any) -> Any:
    """What was bent already may be past a second bending."""
    try:
        return edit(value)
    except (ValueError, TypeError, LookupError, AttributeError, cbor2.CBORError):
        return value


@dataclass(frozen=True)
class Ceremony:
    """An answer to be judged, and how it came to be."""

    name: str
    is_registration: bool
    message: Json
    stored: StoredCredential
    format: str
    alg: int
    mutations: tuple[str, ...]


def make_ceremony(seed: str) -> Ceremony:
    """The ceremony of a seed."""
    lots = Random(seed)
    is_registration = lots.random() < 0.65
    name = lots.choice(list(FORMATS))
    made = FORMATS[name] if is_registration else FORMATS["none"]
    alg = made.algorithms[0] if lots.random() < 0.6 else lots.choice(made.algorithms)
    draft = Draft(lots, is_registration, made, alg, making=made.making())
    fitting = [mutation for mutation in MUTATIONS if mutation.fits(draft)]
    chosen = lots.choices(fitting, [mutation.weight for mutation in fitting], k=lots.choice((0, 1, 1, 1, 1, 1, 1, 2)))
    for mutation in chosen:
        mutation.apply(draft)
    with warnings.catch_warnings():
        # cryptography warns of some of the certificates that it is asked to make.
        warnings.simplefilter("ignore")
        message = _register(draft) if is_registration else _sign_in(draft)
    for edit in draft.after:
        _attempt(edit, message)
    stored = stored_credential(alg, **draft.stored)
    fmt = name if is_registration else "assertion"
    return Ceremony(seed, is_registration, message, stored, fmt, alg, tuple(mutation.name for mutation in chosen))


def _register(draft: Draft) -> Json:
    authenticator = SteadyAuthenticator(
        seed=1,
        algorithm=draft.alg,
        attestation=draft.format.attestation,
        attestation_algorithm=draft.format.attestation_algorithm,
    )
    faults = dict(draft.faults)
    if draft.format.has_certificates:
        later = faults.get("edit_statement", dict)
        faults["edit_statement"] = lambda statement: later(_steady_statement(statement))
    return authenticator.register(creation_options(), origin=ORIGIN, faults=Faults(**faults, making=draft.making))


def _sign_in(draft: Draft) -> Json:
    authenticator = SteadyAuthenticator(seed=1, algorithm=draft.alg)
    credential = authenticator._make_credential(creation_options(), ORIGIN, Faults())
    return authenticator.sign_in(request_options(), origin=ORIGIN, credential=credential, **draft.faults)


def _steady_statement(statement: Any) -> Any:
    return statement | {"x5c": [reissued(der) if at == 0 else steady_root() for at, der in enumerate(statement["x5c"])]}


# --- client data ----------------------------------------------------------------------------------------------------

TEXT = b64u(CHALLENGE)
CLIENT_DATA: dict[str, tuple[Any, ...]] = {
    "type": ("webauthn.get", "webauthn.create", "WEBAUTHN.CREATE", "payment.get", "webauthn.create "),
    "challenge": (
        TEXT + "=",
        TEXT[:-1] + "9",
        TEXT[:-1],
        TEXT + "A",
        "+/" + TEXT[2:],
        TEXT[:9] + "!" + TEXT[9:],
        "AAAA",
    ),
    "origin": (
        "HTTPS://EXAMPLE.ORG",
        "https://Example.org",
        "https://example.org:443",
        "https://example.org:8443",
        "https://example.org:0443",
        "https://example.org:",
        "https://example.org/",
        "https://example.org/path?x#y",
        "https://example.org.",
        "https://login.example.org",
        "https://notexample.org",
        "https://example.org@evil.example",
        "https://evil.example@example.org",
        "https://user:pass@example.org",
        "https://example.org\\@evil.example",
        "https://example.org\n",
        "https://exa\tmple.org",
        " https://example.org",
        "https://example.org%2eevil.example",
        "https://ex\u0430mple.org",
        "https://example\u3002org",
        "https://[::1]",
        "http://example.org",
        "//example.org",
        "https:example.org",
        "null",
        "android:apk-key-hash:abc",
    ),
    "crossOrigin": (True, "false", None),
    "topOrigin": ("https://example.com", ORIGIN, "null"),
    "tokenBinding": ({"status": "supported"}, {"status": "present", "id": "x"}, {"status": "present"}, {"status": "x"}),
}


def client_data_members(draft: Draft) -> None:
    draft.edit("edit_client_data", lambda raw: bend_json(draft.lots, raw, CLIENT_DATA))


def client_data_bytes(draft: Draft) -> None:
    draft.edit("edit_client_data", lambda raw: bend_bytes(draft.lots, raw))


def _answer_bytes(draft: Draft, name: str) -> None:
    """Bend a member of the response after all is signed."""

    def bend(message: Json) -> None:
        message["response"][name] = b64u(bend_bytes(draft.lots, unb64u(message["response"][name])))

    draft.after.append(bend)


def client_data_after_signing(draft: Draft) -> None:
    _answer_bytes(draft, "clientDataJSON")


# --- authenticator data ---------------------------------------------------------------------------------------------


def flags(draft: Draft) -> None:
    bits = draft.lots.choice((1 << draft.lots.randrange(8), draft.lots.randrange(256)))
    draft.edit("edit_authenticator_data", lambda raw: raw[:32] + bytes([raw[32] ^ bits]) + raw[33:])


def sign_counter(draft: Draft) -> None:
    counts = (0, 1, 4, 5, 6, 2**31 - 1, 2**31, 2**32 - 1)
    draft.faults["sign_count"] = draft.lots.choice(counts)
    draft.stored["sign_count"] = draft.lots.choice(counts)


def backup_flags(draft: Draft) -> None:
    draft.faults["be"], draft.faults["bs"] = draft.lots.random() < 0.5, draft.lots.random() < 0.5
    draft.stored["backup_eligible"] = draft.lots.choice((True, False, None))


def relying_party(draft: Draft) -> None:
    draft.faults["rp_id"] = draft.lots.choice(("example.net", "login.example.org", "org", "EXAMPLE.ORG", ORIGIN))


def extensions(draft: Draft) -> None:
    known = {"credProtect": 2, "hmac-secret": True, "a": b"bytes", "largeBlobKey": [1, {"b": 2}]}
    item: Any = draft.lots.choice((known, {}, {1: 1}, 1, [], "x", {"a": 1.5}, {"a": None}, {"a": [[[1]]]}, {b"a": 1}))
    if draft.lots.random() < 0.5:
        draft.faults["extensions"] = item
    else:
        draft.faults |= {"ed": True, "trailing": bend_cbor(draft.lots, item)}


def trailing_bytes(draft: Draft) -> None:
    draft.faults["trailing"] = draft.lots.choice((b"\0", b"\xa0", b"\xf6", draft.lots.randbytes(5)))


def authenticator_data_bytes(draft: Draft) -> None:
    draft.edit("edit_authenticator_data", lambda raw: bend_bytes(draft.lots, raw))


def authenticator_data_after_signing(draft: Draft) -> None:
    _answer_bytes(draft, "authenticatorData")


def carried_credential(draft: Draft) -> None:
    draft.faults["at"] = not draft.is_registration


def credential_id(draft: Draft) -> None:
    size = draft.lots.choice((0, 1, 15, 16, 255, 256, 1022, 1023, 1024, 2000))
    draft.faults["credential_id"] = draft.lots.randbytes(size)


def credential_id_length(draft: Draft) -> None:
    size = draft.lots.choice((0, 1, 31, 33, 64, 1024, 0xFFFF)).to_bytes(2, "big")
    draft.edit("edit_authenticator_data", lambda raw: raw[:53] + size + raw[55:])


def aaguid(draft: Draft) -> None:
    draft.faults["aaguid"] = draft.lots.choice((bytes(16), bytes(range(1, 17)), draft.lots.randbytes(16)))


# --- public key -----------------------------------------------------------------------------------------------------


def key_members(draft: Draft) -> None:
    lots = draft.lots

    def bend(members: dict[Any, Any]) -> dict[Any, Any]:
        label = lots.choice([*members, 2, 4, 5, -4, 0])
        value = members.get(label)
        if isinstance(value, bytes):
            odd = (
                b"\0" + value,
                value[1:],
                value[:-1],
                bytes(len(value)),
                b"\xff" * len(value),
                value[::-1],
                b"",
                True,
            )
            return members | {label: lots.choice((*odd, bend_bytes(lots, value)))}
        return members | {label: lots.choice((1, 2, 3, 7, 6, 8, *ALGORITHMS, -47, -65535, 0, "ES256", b"x", None))}

    draft.edit("edit_public_key", bend)


def key_members_lost(draft: Draft) -> None:
    lost = draft.lots.random()
    draft.edit(
        "edit_public_key",
        lambda members: {n: v for at, (n, v) in enumerate(members.items()) if at != int(lost * len(members))},
    )


def another_key(draft: Draft) -> None:
    """A good key that is not the one that signs."""
    alg = draft.lots.choice(ALGORITHMS)
    draft.edit("edit_public_key", lambda members: make_or_other(alg, draft.alg).cose())


def make_or_other(alg: int, own: int) -> Any:
    return OTHER_KEY if alg == own else steady_key(alg)


def mirrored_point(draft: Draft) -> None:
    def mirror(members: dict[Any, Any]) -> dict[Any, Any]:
        y = members.get(-3)
        if members.get(3) != -7 or not isinstance(y, bytes):
            return members
        return members | {-3: (P256_PRIME - int.from_bytes(y, "big") % P256_PRIME).to_bytes(32, "big")}

    draft.edit("edit_public_key", mirror)


def key_encoding(draft: Draft) -> None:
    draft.faults["public_key"] = bend_cbor(draft.lots, steady_key(draft.alg).cose())


# --- attestation object and statement -------------------------------------------------------------------------------


def object_encoding(draft: Draft) -> None:
    draft.edit("edit_attestation_object", lambda raw: bend_cbor(draft.lots, cbor2.loads(raw)))


def object_bytes(draft: Draft) -> None:
    draft.edit("edit_attestation_object", lambda raw: bend_bytes(draft.lots, raw))


def other_format(draft: Draft) -> None:
    names = (
        "none",
        "packed",
        "fido-u2f",
        "tpm",
        "android-key",
        "apple",
        "android-safetynet",
        "compound",
        "NONE",
        "x",
        "",
    )
    draft.faults["fmt"] = draft.lots.choice(names)


def statement_members(draft: Draft) -> None:
    lots = draft.lots

    def bend(statement: Any) -> Any:
        name = lots.choice([*statement, "x5c", "sig", "alg", "ver", "ecdaaKeyId", "response", "certInfo", "x"])
        if name in statement and lots.random() < 0.3:
            return {other: statement[other] for other in statement if other != name}
        value = statement.get(name)
        if isinstance(value, bytes) and lots.random() < 0.6:
            return statement | {name: bend_bytes(lots, value)}
        values = (None, True, 0, -1, b"", b"x", "", "x", "2.0", [], [b"x"], ["x"], {}, *ALGORITHMS, -65535, -47)
        return statement | {name: lots.choice(values)}

    draft.edit("edit_statement", bend)


def statement_algorithm(draft: Draft) -> None:
    alg = draft.lots.choice((*ALGORITHMS, -65535, -47, 0))
    draft.edit("edit_statement", lambda statement: statement | {"alg": alg})


def path_members(draft: Draft) -> None:
    """Which certificates come, and in which order."""
    lots = draft.lots
    other = maker("Another Root").der
    picks = [
        lambda leaf, root: [leaf],
        lambda leaf, root: [leaf, root],
        lambda leaf, root: [root, leaf],
        lambda leaf, root: [leaf, leaf],
        lambda leaf, root: [leaf, leaf, root],
        lambda leaf, root: [leaf, root, root],
        lambda leaf, root: [leaf, root, leaf],
        lambda leaf, root: [root],
        lambda leaf, root: [],
        lambda leaf, root: [leaf, other],
        lambda leaf, root: [other],
        lambda leaf, root: [leaf, b""],
        lambda leaf, root: [leaf] + [root] * 8,
        lambda leaf, root: [leaf, root[:-1]],
    ]
    pick = lots.choice(picks)

    def bend(statement: Any) -> Any:
        path = statement.get("x5c")
        has_path = isinstance(path, list) and path
        return statement | {"x5c": pick(path[0], steady_root())} if has_path else statement

    draft.edit("edit_statement", bend)


def _edit_leaf(draft: Draft, edit: Edit) -> None:
    def bend(statement: Any) -> Any:
        path = statement.get("x5c")
        whole = isinstance(path, list) and path and isinstance(path[0], bytes)
        return statement | {"x5c": [edit(path[0]), *path[1:]]} if whole else statement

    draft.edit("edit_statement", bend)


def certificate_bytes(draft: Draft) -> None:
    _edit_leaf(draft, lambda der: bend_bytes(draft.lots, der))


def certificate_structure(draft: Draft) -> None:
    _edit_leaf(draft, lambda der: bend_der(draft.lots, der))


def reissued_certificate(draft: Draft) -> None:
    """Signed by its issuer over the bent content."""

    def bend(der: bytes) -> bytes:
        try:
            return reissued(der, lambda signed: draft.lots.choice((bend_der, bend_der, bend_bytes))(draft.lots, signed))
        except ValueError:
            return der

    _edit_leaf(draft, bend)


def packed_certificate(draft: Draft) -> None:
    faults: tuple[Json, ...] = (
        {"country": "Sweden"},
        {"country": "S1"},
        {"country": None},
        {"organization": None},
        {"unit": "authenticator attestation"},
        {"unit": None},
        {"common_name": None},
        {"common_name": ""},
        {"ca": True},
        {"ca": None},
        {"aaguid": bytes(16)},
        {"aaguid": bytes(15)},
        {"aaguid": b""},
        {"aaguid_critical": True},
        {"with_root": True},
    )
    draft.faults["certificate"] = CertificateFaults(**draft.lots.choice(faults))


# --- formats --------------------------------------------------------------------------------------------------------


def tpm_fields(draft: Draft) -> None:
    lots = draft.lots
    numbers = (0, 1, 3, 4, 5, 0x0B, 0x0C, 0x10, 0x14, 0x16, 0x18, 0x23, 2048, 3072, lots.randrange(2**16))
    area = (
        "kind",
        "name_alg",
        "attributes",
        "policy",
        "symmetric",
        "scheme",
        "curve",
        "kdf",
        "bits",
        "exponent",
        "unique",
    )
    info = ("magic", "kind", "signer", "extra_data", "clock_info", "firmware", "name", "qualified_name")
    name = lots.choice((*(("area", each) for each in area), *(("info", each) for each in info)))
    binary = name[1] in ("policy", "scheme", "unique", *info[2:])
    value = lots.choice((b"", lots.randbytes(32), b"\0\x0b" + lots.randbytes(32))) if binary else lots.choice(numbers)
    if name == ("area", "name_alg"):
        value = lots.choice((4, 0x0B, 0x0C, 0x0D))
    if name == ("area", "exponent"):
        value = lots.choice((0, 3, 65537, 2**32 - 1))
    draft.making[name[0]] = draft.making.get(name[0], {}) | {name[1]: value}


def tpm_bytes(draft: Draft) -> None:
    """The area keeps its second field, by which its name is made."""
    lots = draft.lots
    if lots.random() < 0.5:
        draft.edit_making("edit_info", lambda raw: bend_bytes(lots, raw))
    else:
        draft.edit_making("edit_area", lambda raw: raw[:4] + bend_bytes(lots, raw[4:]))


def tpm_certificate(draft: Draft) -> None:
    faults: tuple[Json, ...] = (
        {"names": (tpm_name(manufacturer="id:FFFFF1D0"),)},
        {"names": (tpm_name(manufacturer="id:49465801"),)},
        {"names": (tpm_name(manufacturer="INTC"),)},
        {"names": (tpm_name(manufacturer=None),)},
        {"names": (tpm_name(model=None),)},
        {"names": (tpm_name(version=None),)},
        {"names": (tpm_name(), tpm_name())},
        {"names": ()},
        {"usages": ()},
        {"usages": (AIK_USAGE, AIK_USAGE)},
        {"ca": True},
        {"ca": None},
        {"aaguid": bytes(16)},
        {"aaguid": bytes(range(1, 17))},
        {"aaguid": bytes(range(1, 17)), "aaguid_critical": True},
        {"with_root": True},
        {"ver": "1.2"},
    )
    draft.making |= draft.lots.choice(faults)


def key_description(draft: Draft) -> None:
    draft.edit_making("edit_description", lambda raw: draft.lots.choice((bend_der, bend_bytes))(draft.lots, raw))


def key_authorizations(draft: Draft) -> None:
    from tests.support.statements_android_key import ALL_APPLICATIONS, ORIGIN, PURPOSE, integer, item, set_of

    fields = {
        PURPOSE: draft.lots.choice((set_of(2), set_of(2, 3), set_of(0, 1), set_of(), set_of(2, 2), integer(2))),
        ORIGIN: draft.lots.choice((integer(0), integer(1), integer(2), item(0x05, b""))),
        ALL_APPLICATIONS: item(0x05, b""),
    }
    chosen = {tag: value for tag, value in fields.items() if draft.lots.random() < 0.6}
    where = draft.lots.choice(("software", "tee"))
    level = draft.lots.choice((0, 1, 2))
    draft.making["description"] = {where: chosen, "level": level}


def apple_extension(draft: Draft) -> None:
    draft.edit_making("edit_extension", lambda nonce: bend_bytes(draft.lots, bytes.fromhex("3024a1220420") + nonce))


def safetynet_answer(draft: Draft) -> None:
    lots = draft.lots
    changes: dict[str, tuple[Any, ...]] = {
        "nonce": ("", b64encode(bytes(32)).decode(), None, 1),
        "timestampMs": (0, -1, 2**63, "1", 1.5, None),
        "ctsProfileMatch": (False, None, "true", 1),
        "basicIntegrity": (False, None),
        "apkPackageName": ("org.example", None),
        "apkDigestSha256": ("", None),
    }
    name = lots.choice(list(changes))
    draft.making["changes"] = draft.making.get("changes", {}) | {name: lots.choice(changes[name])}


def safetynet_text(draft: Draft) -> None:
    """The payload, told in another way."""
    draft.edit_making("edit_payload", lambda raw: bend_json(draft.lots, raw, {}))


def safetynet_header(draft: Draft) -> None:
    lots = draft.lots
    values = {"alg": ("none", "HS256", "PS256", "ES256", "rs256"), "crit": (["b64"],), "b64": (False,), "x5u": ("x",)}

    def bend(response: bytes) -> bytes:
        header, payload, _ = response.split(b".")
        text = b64u(bend_json(lots, unb64u(header.decode()), values)).encode() + b"." + payload
        return text + b"." + b64u(jose_signature(steady_key(-257), text)).encode()

    draft.edit_making("edit_response", bend)


def safetynet_spelling(draft: Draft) -> None:
    def bend(response: bytes) -> bytes:
        parts = response.decode().split(".")
        at = draft.lots.randrange(len(parts))
        parts[at] = bend_base64url(draft.lots, parts[at])
        return ".".join(parts).encode()

    draft.edit_making("edit_response", bend)


def safetynet_certificates(draft: Draft) -> None:
    lots = draft.lots

    def bend(response: bytes) -> bytes:
        header, payload, _ = response.split(b".")
        members = json.loads(unb64u(header.decode()))
        members["x5c"] = lots.choice(
            (members["x5c"][:1], members["x5c"][::-1], [], members["x5c"] * 2, "x", [1], ["x"])
        )
        text = b64u(json.dumps(members).encode()).encode() + b"." + payload
        return text + b"." + b64u(jose_signature(steady_key(-257), text)).encode()

    draft.edit_making("edit_response", bend)


def safetynet_host(draft: Draft) -> None:
    names = ((), ("*.android.com",), ("attest.android.com.evil.example",), ("x.example", "attest.android.com"))
    draft.making |= draft.lots.choice(({"names": draft.lots.choice(names)}, {"common_name": "attest.example"}))


# --- signatures -----------------------------------------------------------------------------------------------------


def signature(draft: Draft) -> None:
    draft.edit("edit_signature", lambda raw: draft.lots.choice(SIGNATURES)(draft, raw))


def _mirrored(draft: Draft, raw: bytes) -> bytes:
    """The other signature that fits as well: ECDSA has two."""
    if draft.alg != -7:
        return raw
    try:
        r, s = decode_dss_signature(raw)
    except ValueError:
        return raw
    return encode_dss_signature(r, -s % P256_ORDER)


def _of_numbers(draft: Draft, raw: bytes) -> bytes:
    pairs = ((0, 0), (1, 1), (P256_ORDER, 1), (1, P256_ORDER), (2**256, 2**256))
    return encode_dss_signature(*draft.lots.choice(pairs))


def _of_two_numbers(draft: Draft, raw: bytes) -> bytes:
    try:
        return b"".join(number.to_bytes(66, "big")[-32:] for number in decode_dss_signature(raw))
    except (ValueError, OverflowError):
        return raw


SIGNATURES: tuple[Callable[[Draft, bytes], bytes], ...] = (
    lambda draft, raw: bend_bytes(draft.lots, raw),
    lambda draft, raw: bend_bytes(draft.lots, raw),
    lambda draft, raw: bend_der(draft.lots, raw),
    lambda draft, raw: b"\x30\x81" + raw[1:],
    lambda draft, raw: raw + b"\0",
    lambda draft, raw: b"",
    lambda draft, raw: bytes(len(raw)),
    _mirrored,
    _of_numbers,
    _of_two_numbers,
)


def signed_over(draft: Draft) -> None:
    draft.faults["sign_over"] = lambda raw: bend_bytes(draft.lots, raw)


def other_signer(draft: Draft) -> None:
    draft.faults["sign_with"] = OTHER_KEY


def salt(draft: Draft) -> None:
    draft.faults["salt_length"] = draft.lots.choice((0, 16, 20, 32, 48, 64))


# --- the JSON outside -----------------------------------------------------------------------------------------------


def spelling(draft: Draft) -> None:
    lots = draft.lots
    names = ("attestationObject",) if draft.is_registration else ("authenticatorData", "signature", "userHandle")

    def bend(message: Json) -> None:
        inner = lots.random() < 0.6
        holder = message["response"] if inner else message
        name = lots.choice(("clientDataJSON", *names) if inner else ("id", "rawId"))
        holder[name] = bend_base64url(lots, holder[name])

    draft.after.append(bend)


def padding_everywhere(draft: Draft) -> None:
    draft.faults["padded"] = True


def other_ids(draft: Draft) -> None:
    lots = draft.lots
    raw = lots.choice((b"", b"other", CREDENTIAL_ID[:-1], CREDENTIAL_ID + b"\0"))
    draft.faults |= lots.choice(({"raw_id": raw}, {"id": b64u(raw)}, {"raw_id": raw, "id": b64u(raw)}))


def user_handle(draft: Draft) -> None:
    handle = draft.lots.choice((b"", b"user-2", USER_HANDLE + b"\0", None))
    draft.faults |= {"without_user_handle": True} if handle is None else {"user_handle": handle}


def attestation_after_signing(draft: Draft) -> None:
    _answer_bytes(draft, "attestationObject")


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutation:
    apply: Callable[[Draft], None]
    fits: Callable[[Draft], bool] = lambda draft: True
    weight: float = 1

    @property
    def name(self) -> str:
        return self.apply.__name__


def registers(draft: Draft) -> bool:
    return draft.is_registration


def signs_in(draft: Draft) -> bool:
    return not draft.is_registration


def certified(draft: Draft) -> bool:
    return draft.is_registration and draft.format.has_certificates


def attested_by(*names: str) -> Callable[[Draft], bool]:
    return lambda draft: draft.is_registration and draft.format.attestation in names


MUTATIONS = (
    Mutation(client_data_members, weight=3),
    Mutation(client_data_bytes),
    Mutation(client_data_after_signing, weight=0.3),
    Mutation(flags),
    Mutation(sign_counter, weight=0.5),
    Mutation(backup_flags, weight=0.5),
    Mutation(relying_party, weight=0.3),
    Mutation(extensions),
    Mutation(trailing_bytes, weight=0.5),
    Mutation(authenticator_data_bytes, weight=2),
    Mutation(authenticator_data_after_signing, signs_in, 0.5),
    Mutation(carried_credential, weight=0.3),
    Mutation(credential_id, registers),
    Mutation(credential_id_length, registers, 0.5),
    Mutation(aaguid, registers, 0.5),
    Mutation(key_members, registers, 3),
    Mutation(key_members_lost, registers, 0.5),
    Mutation(another_key, registers, 0.5),
    Mutation(mirrored_point, registers, 0.3),
    Mutation(key_encoding, registers, 2),
    Mutation(object_encoding, registers, 3),
    Mutation(object_bytes, registers),
    Mutation(attestation_after_signing, registers, 0.5),
    Mutation(other_format, registers, 0.5),
    Mutation(statement_members, registers, 2),
    Mutation(statement_algorithm, registers, 0.5),
    Mutation(path_members, certified),
    Mutation(certificate_bytes, certified, 1),
    Mutation(certificate_structure, certified, 0.5),
    Mutation(reissued_certificate, certified, 3),
    Mutation(packed_certificate, attested_by("packed-x5c"), 2),
    Mutation(tpm_fields, attested_by("tpm"), 3),
    Mutation(tpm_bytes, attested_by("tpm"), 3),
    Mutation(tpm_certificate, attested_by("tpm"), 2),
    Mutation(key_description, attested_by("android-key"), 3),
    Mutation(key_authorizations, attested_by("android-key"), 2),
    Mutation(apple_extension, attested_by("apple"), 2),
    Mutation(safetynet_answer, attested_by("android-safetynet"), 2),
    Mutation(safetynet_text, attested_by("android-safetynet"), 2),
    Mutation(safetynet_header, attested_by("android-safetynet"), 2),
    Mutation(safetynet_spelling, attested_by("android-safetynet"), 2),
    Mutation(safetynet_certificates, attested_by("android-safetynet")),
    Mutation(safetynet_host, attested_by("android-safetynet")),
    Mutation(signature, lambda draft: signs_in(draft) or attested_by("packed-self", "packed-x5c")(draft), 3),
    Mutation(signed_over, lambda draft: signs_in(draft) or attested_by("packed-self", "packed-x5c")(draft)),
    Mutation(other_signer, lambda draft: signs_in(draft) or attested_by("packed-self", "packed-x5c")(draft), 0.5),
    Mutation(salt, lambda draft: draft.alg in (-37, -38, -39), 2),
    Mutation(spelling, weight=2),
    Mutation(padding_everywhere, weight=0.3),
    Mutation(other_ids, weight=0.7),
    Mutation(user_handle, signs_in),
)
