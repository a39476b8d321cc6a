"""Registration, from the side of what is accepted and what is learnt; ``cases`` holds what is refused."""

from __future__ import annotations

import pytest

from narthex.webauthn.attestation import AttestationType
from narthex.webauthn.trust import Trust, TrustVerdict
from tests.support.authenticator import ALGORITHMS, CertificateFaults, SoftwareAuthenticator, b64u, maker
from tests.webauthn.ceremony import (
    CHALLENGE,
    ORIGIN,
    TOP_ORIGIN,
    creation_options,
    register,
    registration_response,
    respond,
    verify_creation,
)


def test_an_honest_registration_tells_everything_about_the_credential() -> None:
    verified = register(sign_count=7, cred_props_rk=True, transports=("internal", "usb", "cable", "usb"))
    assert len(verified.credential_id) == 32
    assert verified.alg == -7
    assert verified.sign_count == 7
    assert verified.aaguid == bytes(range(1, 17))
    assert (verified.user_present, verified.user_verified) == (True, True)
    assert (verified.backup_eligible, verified.backup_state) == (True, True)
    assert verified.attestation.type is AttestationType.NONE
    assert verified.trust == Trust(TrustVerdict.NO_PATH)
    assert verified.transports == ("internal", "usb")
    assert verified.discoverable is True
    assert verified.extensions == {}


@pytest.mark.parametrize("attestation", ["none", "packed-self", "packed-x5c"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_registers_with_every_attestation(algorithm: int, attestation: str) -> None:
    assert register(algorithm=algorithm, attestation=attestation).alg == algorithm


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_maker_may_attest_with_every_algorithm(algorithm: int) -> None:
    authenticator = SoftwareAuthenticator(seed=1, attestation="packed-x5c", attestation_algorithm=algorithm)
    response = registration_response(authenticator.register(creation_options(), origin=ORIGIN))
    assert verify_creation(response).attestation.type is AttestationType.BASIC


@pytest.mark.parametrize("with_root", [False, True])
def test_a_path_to_a_known_maker_is_anchored(with_root: bool) -> None:
    verified = register(
        attestation="packed-x5c",
        certificate=CertificateFaults(with_root=with_root),
        expect={"anchors": (maker("Another Root").der, maker().der), "trust_required": True},
    )
    assert verified.trust == Trust(TrustVerdict.ANCHORED, maker().der)


def test_a_path_without_known_anchors_is_uncertain() -> None:
    assert register(attestation="packed-x5c").trust == Trust(TrustVerdict.UNCERTAIN)


def test_a_path_to_an_unknown_maker_is_a_fact_unless_trust_is_required() -> None:
    verified = register(attestation="packed-x5c", expect={"anchors": (maker("Another Root").der,)})
    assert verified.trust == Trust(TrustVerdict.UNANCHORED)


def test_a_certificate_without_the_aaguid_extension_is_accepted() -> None:
    """The extension is required only of roots that serve several models, which metadata must tell."""
    verified = register(attestation="packed-x5c", certificate=CertificateFaults(aaguid=b""))
    assert verified.attestation.type is AttestationType.BASIC


def test_conditional_create_needs_no_user_presence() -> None:
    verified = register(up=False, uv=False, expect={"user_presence_required": False})
    assert not verified.user_present


def test_a_cross_origin_frame_is_accepted_under_an_expected_page() -> None:
    register(cross_origin=True, top_origin=TOP_ORIGIN, expect={"top_origins": (TOP_ORIGIN,)})


def test_a_cross_origin_frame_may_keep_its_page_to_itself() -> None:
    """Clients before Level 3 set crossOrigin and know no topOrigin."""
    register(cross_origin=True, expect={"top_origins": (TOP_ORIGIN,)})


@pytest.mark.parametrize("origin", ["HTTPS://Example.ORG", "https://example.org:443"])
def test_an_origin_in_another_spelling_is_the_same_origin(origin: str) -> None:
    register(origin=origin)


def test_an_app_is_an_origin_compared_whole() -> None:
    app = "android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc"
    register(origin=app, expect={"origins": (ORIGIN, app)})


@pytest.mark.parametrize("size", [1, 1023])
def test_a_credential_id_may_have_one_to_1023_bytes(size: int) -> None:
    assert len(register(credential_id=b"x" * size).credential_id) == size


def test_a_padded_id_is_tolerated() -> None:
    credential_id = bytes(16)
    assert register(credential_id=credential_id, id=b64u(credential_id) + "==").credential_id == credential_id


def test_extensions_are_kept() -> None:
    verified = register(extensions={"credProtect": 2, "hmac-secret": True})
    assert verified.extensions == {"credProtect": 2, "hmac-secret": True}


def test_reserved_flags_are_not_judged() -> None:
    register(reserved_flags=0x22)


@pytest.mark.parametrize(
    "members",
    [
        {"extraData": "members of the future"},
        {"tokenBinding": {"status": "supported"}},
        {"tokenBinding": {"status": "present", "id": "x"}},
        {"braces": "{[" * 40},
        {"é": "\U0001f511"},
    ],
)
def test_members_of_the_future_and_of_the_past_are_let_through(members: dict[str, object]) -> None:
    register(extra_members=members)


def test_client_data_without_cross_origin_is_that_of_an_old_client() -> None:
    register(cross_origin=None)


def test_expecting_no_challenge_is_our_own_mistake() -> None:
    """An empty challenge would match an empty one: not a refusal, a defect."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        verify_creation(respond(challenge=b""), challenge=b"")


def test_a_challenge_of_sixteen_bytes_is_enough() -> None:
    register(challenge=CHALLENGE[:16], expect={"challenge": CHALLENGE[:16]})
