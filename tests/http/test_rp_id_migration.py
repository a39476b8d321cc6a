"""A relying party moves from one id to another, and nobody is locked out on the way."""

from __future__ import annotations

from typing import Any

import pytest

from narthex.base.values import from_base64url
from tests.support.application import ABSENT, Begun, Ceremonies, HouseInProcess, accepted, begun, refused
from tests.support.authenticator import SoftwareCredential, b64u, make_key_pair

pytestmark = pytest.mark.anyio

OLD, NEW = "old.example", "new.example"
ORIGINS = [f"https://{OLD}", f"https://{NEW}"]


class Movers:
    """The same people, with one authenticator, on the old page and on the new one."""

    def __init__(self, ceremonies: Ceremonies) -> None:
        def at(rp_id: str) -> Ceremonies:
            return Ceremonies(
                ceremonies.application,
                authenticator=ceremonies.authenticator,
                origin=f"https://{rp_id}",
                rp_id=rp_id,
            )

        self.old, self.new = at(OLD), at(NEW)

    def passkey(self, user_id: str, rp_id: str) -> SoftwareCredential:
        kept = self.old.authenticator.credentials
        return next(each for each in kept if (each.user_handle, each.rp_id) == (user_id.encode(), rp_id))

    def ids(self, user_id: str, *rp_ids: str) -> list[str]:
        return [b64u(self.passkey(user_id, rp_id).credential_id) for rp_id in rp_ids]


async def migrate(house: HouseInProcess, old: str | None = OLD, new: str | None = NEW) -> dict[str, Any]:
    return accepted(await house.manage("/admin/apps/demo/rp-ids/migrate", {"old": old, "new": new}))


@pytest.fixture
async def movers(house: HouseInProcess, ceremonies: Ceremonies) -> Movers:
    """`ann` has a passkey for the old id, `bob` for both, `carl` for the new one; the move is under way."""
    accepted(await house.manage("/admin/apps/demo/origins", {"origins": ORIGINS}))
    movers = Movers(ceremonies)
    for user in ("ann", "bob"):
        await movers.old.register(user, aliases=[f"{user}@x"])
    await migrate(house)
    for user in ("bob", "carl"):
        await movers.new.register(user)
    return movers


def asked_for(begun: Begun) -> tuple[str, list[str]]:
    """The rp id and the credentials that the browser is asked for."""
    return begun.data["rpId"], [descriptor["id"] for descriptor in begun.data["allowCredentials"]]


# --- the whole way --------------------------------------------------------------------------------------------------


async def test_a_whole_move(any_house: HouseInProcess) -> None:
    application = await any_house.create_application()
    movers = Movers(Ceremonies(application))
    await movers.old.register("ann")
    await movers.old.register("bob")
    accepted(await any_house.manage("/admin/apps/demo/origins", {"origins": ORIGINS, "rpIds": [OLD]}))

    survey = await migrate(any_house)
    counts = [{"rpId": OLD, "credentials": 2, "users": 2}]
    assert {"old": OLD, "new": NEW, "users": 2, "moved": 0, "notMoved": 2, "rpIds": counts} == survey
    assert [OLD, NEW] == accepted(await any_house.manage("/admin/apps/demo/origins"))["rpIds"]

    # What a customer's backend does: whoever comes with the old id is offered a passkey for the new one.
    verified = await movers.new.verify(await movers.new.sign_in(userId="ann"))
    assert (OLD, "https://" + NEW) == (verified["rpId"], verified["origin"])
    await movers.new.register("ann")
    half = accepted(await any_house.manage("/admin/apps/demo/rp-ids"))
    assert (2, 1, 1) == (half["users"], half["moved"], half["notMoved"])
    assert [(OLD, 2, 2), (NEW, 1, 1)] == [tuple(each.values()) for each in half["rpIds"]]

    await movers.new.verify(await movers.new.sign_in(userId="bob"))
    await movers.new.register("bob")
    whole = accepted(await any_house.manage("/admin/apps/demo/rp-ids"))
    assert (2, 2, 0) == (whole["users"], whole["moved"], whole["notMoved"])

    ended = await migrate(any_house, None, None)
    assert (None, None, 0, 0) == (ended["old"], ended["new"], ended["moved"], ended["notMoved"])
    assert NEW == (await movers.new.verify(await movers.new.sign_in(userId="bob")))["rpId"]


# --- who is asked for what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"userId": "ann"}, {"alias": "ann@x"}])
@pytest.mark.parametrize("rp_id", [NEW, OLD, ABSENT, None])
async def test_a_user_of_the_old_id_signs_in_on_the_new_page(movers: Movers, asked: Any, rp_id: Any) -> None:
    """The official clients send the same `rpid` when they complete as when they began: here it is not the browser's."""
    begun = await movers.new.begin_sign_in(**asked)
    assert (OLD, movers.ids("ann", OLD)) == asked_for(begun)

    token = accepted(await movers.new.complete_sign_in(begun, rpid=rp_id))["token"]
    verified = await movers.new.verify(token)
    assert ("ann", OLD, "https://" + NEW) == (verified["userId"], verified["rpId"], verified["origin"])
    assert OLD == verified["assurance"]["rpId"]


async def test_a_third_rp_id_is_still_refused_at_the_end(movers: Movers) -> None:
    begun = await movers.new.begin_sign_in(userId="ann")
    problem = refused(await movers.new.complete_sign_in(begun, rpid="other.example"), 400, "signin_complete_error")
    assert "rp_id_mismatch" == problem["reason"]


@pytest.mark.parametrize("user", ["bob", "carl"])
async def test_who_has_the_new_is_asked_for_the_new_alone(movers: Movers, user: str) -> None:
    begun = await movers.new.begin_sign_in(userId=user)
    assert (NEW, movers.ids(user, NEW)) == asked_for(begun)
    accepted(await movers.new.complete_sign_in(begun))


async def test_who_has_none_is_asked_for_the_new(movers: Movers) -> None:
    assert (NEW, []) == asked_for(await movers.new.begin_sign_in(userId="nobody"))


async def test_the_old_page_goes_on_with_the_old(movers: Movers) -> None:
    for user in ("ann", "bob"):
        begun = await movers.old.begin_sign_in(userId=user)
        assert (OLD, movers.ids(user, OLD)) == asked_for(begun)
        accepted(await movers.old.complete_sign_in(begun))
    assert (OLD, []) == asked_for(await movers.old.begin_sign_in(userId="carl"))
    await movers.old.register("dora")


async def test_without_a_user_the_new_page_asks_for_the_new(movers: Movers) -> None:
    begun = await movers.new.begin_sign_in()
    assert (NEW, []) == asked_for(begun)
    answer = await movers.new.complete_sign_in(begun, credential=movers.passkey("ann", OLD))
    assert "credential_not_allowed" == refused(answer, 400, "signin_complete_error")["reason"]
    begun = await movers.new.begin_sign_in()
    token = accepted(await movers.new.complete_sign_in(begun, credential=movers.passkey("bob", NEW)))["token"]
    assert "bob" == (await movers.new.verify(token))["userId"]


async def test_a_question_for_the_old_is_not_answered_with_the_new(movers: Movers) -> None:
    """Nor with another user's."""
    first, second = await movers.new.begin_sign_in(userId="ann"), await movers.new.begin_sign_in(userId="ann")
    await movers.new.register("ann")
    for asked, credential in ((first, movers.passkey("ann", NEW)), (second, movers.passkey("bob", OLD))):
        answer = await movers.new.complete_sign_in(asked, credential=credential)
        assert "credential_not_allowed" == refused(answer, 400, "signin_complete_error")["reason"]


async def test_a_step_up_finds_the_old_passkey_too(movers: Movers) -> None:
    begun = await movers.new.begin_sign_in(userId="ann", purpose="step-up")
    assert (OLD, movers.ids("ann", OLD)) == asked_for(begun)
    token = accepted(await movers.new.complete_sign_in(begun))["token"]
    assert "step-up" == (await movers.new.verify(token))["purpose"]


async def test_a_new_passkey_is_made_for_the_new_and_excludes_the_old(movers: Movers) -> None:
    begun = await movers.new.begin_registration(await movers.new.give_leave("ann"))
    assert NEW == begun.data["rp"]["id"]
    assert movers.ids("ann", OLD) == [descriptor["id"] for descriptor in begun.data["excludeCredentials"]]


async def test_the_old_id_alone_may_be_listed_with_the_new_page(house: HouseInProcess, movers: Movers) -> None:
    """Without a list of rp ids, the old one covers none of the origins once its pages are gone."""
    accepted(await house.manage("/admin/apps/demo/origins", {"origins": ORIGINS[1:]}))
    assert "ann" == (await movers.new.verify(await movers.new.sign_in(userId="ann")))["userId"]
    refused(await movers.old.ask_sign_in(userId="ann"), 400, "origin_not_allowed")


# --- before, after, and never ---------------------------------------------------------------------------------------


async def test_without_a_move_nobody_is_asked_for_another_id(house: HouseInProcess, movers: Movers) -> None:
    under_way = await movers.new.begin_sign_in(userId="ann")
    await migrate(house, None, None)
    assert (NEW, []) == asked_for(await movers.new.begin_sign_in(userId="ann"))
    accepted(await movers.new.complete_sign_in(under_way))
    await movers.old.sign_in(userId="ann")  # On its own page it is what it was.


async def test_the_old_id_is_listed_while_it_moves_and_taken_off_at_the_end(
    house: HouseInProcess, movers: Movers
) -> None:
    third = "third.example"
    accepted(await house.manage("/admin/apps/demo/origins", {"rpIds": [third, NEW]}))
    assert [third, NEW, OLD] == accepted(await house.manage("/admin/apps/demo/origins"))["rpIds"]
    await movers.old.sign_in(userId="ann")
    await migrate(house, None, None)
    assert [third, NEW] == accepted(await house.manage("/admin/apps/demo/origins"))["rpIds"]
    refused(await movers.old.ask_sign_in(userId="ann"), 400, "rp_id_not_allowed")
    # For those who were left behind it is put on again, and nothing takes it off: no move is under way.
    accepted(await house.manage("/admin/apps/demo/origins", {"rpIds": [NEW, OLD]}))
    await migrate(house, None, None)
    await movers.old.sign_in(userId="ann")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (NEW, NEW, "rp_id_migration_invalid"),
        (OLD, None, "rp_id_migration_invalid"),
        (None, NEW, "rp_id_migration_invalid"),
        (OLD, "", "rp_id_migration_invalid"),
        (OLD, "New.example", "rp_id_malformed"),
        ("https://old.example", NEW, "rp_id_malformed"),
        (OLD, "192.0.2.7", "rp_id_malformed"),
    ],
)
async def test_a_move_goes_from_one_domain_to_another(
    house: HouseInProcess, movers: Movers, old: str | None, new: str | None, code: str
) -> None:
    before = accepted(await house.manage("/admin/apps/demo/rp-ids"))
    refused(await house.manage("/admin/apps/demo/rp-ids/migrate", {"old": old, "new": new}), 400, code)
    assert before == accepted(await house.manage("/admin/apps/demo/rp-ids"))


async def test_a_move_may_turn_back(house: HouseInProcess, movers: Movers) -> None:
    survey = await migrate(house, NEW, OLD)
    assert (3, 2, 1) == (survey["users"], survey["moved"], survey["notMoved"])
    assert (NEW, movers.ids("carl", NEW)) == asked_for(await movers.old.begin_sign_in(userId="carl"))
    assert (NEW, []) == asked_for(await movers.new.begin_sign_in(userId="ann"))


async def test_another_application_stays_where_it_is(house: HouseInProcess, movers: Movers) -> None:
    other = Movers(Ceremonies(await house.create_application("other")))
    await other.old.register("ann")
    assert (NEW, []) == asked_for(await other.new.begin_sign_in(userId="ann"))
    survey = accepted(await house.manage("/admin/apps/other/rp-ids"))
    assert (None, 1, 0, 0) == (survey["old"], survey["users"], survey["moved"], survey["notMoved"])
    refused(await house.manage("/admin/apps/nobody/rp-ids"), 404, "application_not_found")


# --- concealment ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def concealing(house: HouseInProcess, movers: Movers) -> Movers:
    """A user's name has three letters, and nobody's has too."""
    await house.change_settings("demo", conceal_unknown_users=True)
    return movers


NOBODIES = [f"n{number:02}" for number in range(40)]


async def test_the_rp_id_does_not_tell_who_is_a_user(concealing: Movers) -> None:
    """Those who have moved look like some of nobody, and those who have not like the others."""
    asked = [asked_for(await concealing.new.begin_sign_in(userId=nobody)) for nobody in NOBODIES]
    assert {OLD, NEW} == {rp_id for rp_id, _ in asked}
    assert [1] * len(asked) == [len(ids) for _, ids in asked]
    again = [asked_for(await concealing.new.begin_sign_in(userId=nobody)) for nobody in NOBODIES]
    assert asked == again


async def test_the_old_page_and_the_new_agree_on_who_has_not_moved(concealing: Movers) -> None:
    """A user who has not moved is asked for one passkey on both pages; who has moved, for another on each."""

    async def agree(user_id: str) -> tuple[str, bool]:
        there = asked_for(await concealing.new.begin_sign_in(userId=user_id))
        here = asked_for(await concealing.old.begin_sign_in(userId=user_id))
        return there[0], there == here

    assert [(OLD, True), (NEW, False)] == [await agree(user) for user in ("ann", "bob")]
    assert {(OLD, True), (NEW, False)} == {await agree(nobody) for nobody in NOBODIES}


async def test_sessions_are_as_long_for_nobody_as_for_a_user(concealing: Movers) -> None:
    sizes: dict[str, set[int]] = {OLD: set(), NEW: set()}
    for user in ("ann", "bob", *NOBODIES):
        begun = await concealing.new.begin_sign_in(userId=user)
        sizes[begun.data["rpId"]].add(len(begun.session))
    assert [1, 1] == [len(each) for each in sizes.values()]


async def test_a_forged_answer_is_refused_alike_on_both_sides(concealing: Movers) -> None:
    async def reasons(user_id: str) -> tuple[str, tuple[str, ...]]:
        said = []
        for be in (False, True):
            begun = await concealing.new.begin_sign_in(userId=user_id)
            rp_id, (offered,) = asked_for(begun)
            forged = SoftwareCredential(from_base64url(offered), make_key_pair(-7), rp_id, user_id.encode(), True)
            body = concealing.new.sign_in_body(begun, credential=forged, be=be, bs=False)
            answer = await concealing.new.application.public("/signin/complete", body)
            problem = refused(answer, 400, "signin_complete_error")
            said.append(problem["reason"])
        return rp_id, tuple(sorted(said))

    known = {await reasons(user) for user in ("ann", "bob")}
    assert {(rp_id, ("backup_eligibility_changed", "signature_invalid")) for rp_id in (OLD, NEW)} == known
    assert known == {await reasons(nobody) for nobody in NOBODIES[:12]}


async def test_users_sign_in_while_nobody_is_concealed(concealing: Movers) -> None:
    for user, rp_id in (("ann", OLD), ("bob", NEW), ("carl", NEW)):
        verified = await concealing.new.verify(await concealing.new.sign_in(userId=user))
        assert (user, rp_id) == (verified["userId"], verified["rpId"])
    assert (NEW, []) == asked_for(begun(await concealing.new.ask_sign_in()))
