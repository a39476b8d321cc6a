"""Where ceremonies may take place: what is noted while they may anywhere, what `lock` makes of it, and who is told."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from narthex.ports.changes import NoteOrigin
from narthex.usecases.ceremony import MOST_SEEN_ORIGINS
from tests.support.application import ORIGIN, RP_ID, Application, Ceremonies, HouseInProcess, accepted, refused

pytestmark = pytest.mark.anyio

EVIL = "https://evil.example"
ANDROID = "android:apk-key-hash:4VdhdcEj6ZwnZh3tfzXlF3gf5tc"
IOS = "ios:bundle-id:org.example.app"


async def seen(house: HouseInProcess, app_id: str = "demo") -> list[tuple[str, str]]:
    listed = accepted(await house.manage(f"/admin/apps/{app_id}/origins"))["seen"]
    return [(each["origin"], each["rpId"]) for each in listed]


async def decide(house: HouseInProcess, app_id: str = "demo", **lists: list[str]) -> dict[str, Any]:
    return accepted(await house.manage(f"/admin/apps/{app_id}/origins", lists))


async def lock(house: HouseInProcess, app_id: str = "demo", **body: Any) -> dict[str, Any]:
    return accepted(await house.manage(f"/admin/apps/{app_id}/origins/lock", body))


def at(ceremonies: Ceremonies, origin: str, rp_id: str = RP_ID) -> Ceremonies:
    """The same user and authenticator, on another page."""
    return Ceremonies(ceremonies.application, authenticator=ceremonies.authenticator, origin=origin, rp_id=rp_id)


# --- learning -------------------------------------------------------------------------------------------------------


async def test_an_open_application_learns_from_what_was_verified(any_house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await any_house.create_application())
    token = await ceremonies.give_leave()
    begun = await ceremonies.begin_registration(token)
    assert [] == await seen(any_house)

    accepted(await ceremonies.complete_registration(begun))
    assert [(ORIGIN, RP_ID)] == await seen(any_house)

    any_house.clock.move(seconds=1)
    login = at(ceremonies, "https://login.example.org:8443")
    body = login.sign_in_body(await login.begin_sign_in()) | {"origin": "HTTPS://login.example.org:8443/in?next=/"}
    accepted(await login.application.public("/signin/complete", body))
    assert [(ORIGIN, RP_ID), ("https://login.example.org:8443", RP_ID)] == await seen(any_house)


async def test_a_refused_ceremony_teaches_nothing(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    elsewhere = at(ceremonies, EVIL, "evil.example")
    begun = await elsewhere.begin_registration(await elsewhere.give_leave())
    faulty = await elsewhere.complete_registration(begun, knobs={"challenge": bytes(32)})
    refused(faulty, 400, "fido2_invalid_registration")

    await ceremonies.register()
    begun = await at(ceremonies, EVIL).begin_sign_in()
    refused(await at(ceremonies, EVIL).complete_sign_in(begun, knobs={"tampered": True}), 400, "signin_complete_error")
    house.clock.move(seconds=1)
    body = at(ceremonies, EVIL).sign_in_body(await ceremonies.begin_sign_in())
    accepted(await ceremonies.application.public("/signin/complete", body))
    refused(await ceremonies.application.public("/signin/complete", body), 400, "token_already_used")

    # Nor does one that was accepted, at a page that cannot be the relying party's: passkeys' owners can forge origins.
    assert [(ORIGIN, RP_ID)] == await seen(house)


async def test_what_is_known_is_noted_once_an_hour(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    async def noted() -> list[tuple[Any, ...]]:
        return await house.rows("select last_seen_at - first_seen_at from seen_origin")

    await ceremonies.register()
    house.clock.move(minutes=59, seconds=59)
    await ceremonies.sign_in()
    assert [(0,)] == await noted()

    house.clock.move(seconds=1)
    await ceremonies.sign_in()
    assert [(3_600_000_000,)] == await noted()


async def test_no_more_is_learnt_than_a_person_can_read(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    first = [NoteOrigin(ORIGIN, RP_ID, house.clock.now())]
    others = [NoteOrigin(f"https://p{n}.example", RP_ID, house.clock.now()) for n in range(MOST_SEEN_ORIGINS - 2)]
    await house.root.tenant("demo").commit(*first, *others)
    house.env.directory.forget("demo")

    await at(ceremonies, "https://the-hundredth.example.org").register()
    await at(ceremonies, "https://one-more.example.org").sign_in()
    house.clock.move(hours=1)
    await ceremonies.sign_in()

    answer = accepted(await house.manage("/admin/apps/demo/origins"))
    last_seen = {each["origin"]: each["lastSeenAt"] for each in answer["seen"]}
    assert 100 == MOST_SEEN_ORIGINS == len(last_seen)
    assert "https://the-hundredth.example.org" in last_seen
    assert "https://one-more.example.org" not in last_seen
    assert max(last_seen.values()) == last_seen[ORIGIN]


async def test_what_was_seen_is_forgotten_on_demand(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    accepted(await house.manage("/admin/apps/demo/origins/forget", {}))
    assert [] == await seen(house)

    await ceremonies.sign_in()
    assert [(ORIGIN, RP_ID)] == await seen(house)


async def test_each_application_learns_for_itself(any_house: HouseInProcess) -> None:
    one, other = [Ceremonies(await any_house.create_application(name)) for name in ("one", "other")]
    await one.register()
    await Ceremonies(other.application, origin=EVIL, rp_id="evil.example").register()
    assert ([(ORIGIN, RP_ID)], [(EVIL, "evil.example")]) == (
        await seen(any_house, "one"),
        await seen(any_house, "other"),
    )

    await lock(any_house, "one")
    accepted(await any_house.manage("/admin/apps/one/origins/forget", {}))
    assert [(EVIL, "evil.example")] == await seen(any_house, "other")
    assert accepted(await any_house.manage("/admin/apps/other/origins"))["open"]


# --- lock -----------------------------------------------------------------------------------------------------------


async def test_a_lock_makes_the_lists(any_house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await any_house.create_application())
    await ceremonies.register()
    any_house.clock.move(seconds=1)
    await Ceremonies(ceremonies.application, origin=ANDROID).register("bob")
    answer = await lock(any_house)
    assert ([ORIGIN, ANDROID], [RP_ID], False) == (answer["origins"], answer["rpIds"], answer["open"])

    await ceremonies.sign_in()
    any_house.clock.move(hours=2)
    await ceremonies.sign_in()
    assert [] == answer["seen"] == await seen(any_house)  # No more is learnt.


async def test_a_lock_leaves_out_what_does_not_belong_there(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    await Ceremonies(ceremonies.application, origin=EVIL, rp_id="evil.example").register("mallory")
    answer = await lock(house, without=["HTTPS://Evil.example:443/page"])
    assert ([ORIGIN], [RP_ID]) == (answer["origins"], answer["rpIds"])


@pytest.mark.parametrize("body", [{}, {"without": [EVIL]}])
async def test_what_nobody_has_seen_cannot_be_locked(
    house: HouseInProcess, ceremonies: Ceremonies, body: dict[str, Any]
) -> None:
    if body:
        await at(ceremonies, EVIL).register()
    problem = refused(await house.manage("/admin/apps/demo/origins/lock", body), 409, "no_origin_seen")
    assert "narthex app set" in problem["detail"]
    assert accepted(await house.manage("/admin/apps/demo/origins"))["open"]


async def test_what_is_no_origin_cannot_be_left_out(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    refused(await house.manage("/admin/apps/demo/origins/lock", {"without": ["evil"]}), 400, "origin_malformed")
    refused(await house.manage("/admin/apps/nobody/origins/lock", {}), 404, "application_not_found")


async def test_a_second_lock_changes_nothing(any_house: HouseInProcess) -> None:
    """Nothing was noted while there was a list, so what it would add is older than the list."""
    ceremonies = Ceremonies(await any_house.create_application())
    await ceremonies.register()
    before = await lock(any_house)
    problem = refused(await any_house.manage("/admin/apps/demo/origins/lock", {}), 409, "origins_locked")
    assert "--empty-origin" in problem["detail"]
    assert before == accepted(await any_house.manage("/admin/apps/demo/origins"))


async def test_a_list_that_was_written_by_hand_is_not_locked_over(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await at(ceremonies, EVIL).register()
    await decide(house, origins=[ORIGIN])
    refused(await house.manage("/admin/apps/demo/origins/lock", {}), 409, "origins_locked")
    assert [ORIGIN] == accepted(await house.manage("/admin/apps/demo/origins"))["origins"]


async def test_what_a_lock_left_out_does_not_come_back_with_the_next(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    await ceremonies.register()
    await at(ceremonies, EVIL).sign_in()
    assert [] == (await lock(house, without=[EVIL]))["seen"]
    await decide(house, origins=[], rpIds=[])
    await ceremonies.sign_in()
    assert [ORIGIN] == (await lock(house))["origins"]


async def test_an_application_may_be_opened_again(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await ceremonies.register()
    await lock(house)
    assert (await decide(house, origins=[], rpIds=[]))["open"]
    await at(ceremonies, EVIL).sign_in()


async def test_a_ceremony_that_began_before_the_lock_ends_by_its_rules(
    house: HouseInProcess, ceremonies: Ceremonies
) -> None:
    """Autofill waits for a day: what a lock forbids must not go on until then."""
    await ceremonies.register()
    strange_page, strange_id = at(ceremonies, EVIL), at(ceremonies, ORIGIN, "example.net")
    await strange_id.register("bob")
    accepted(await house.manage("/admin/apps/demo/origins/forget", {}))
    await ceremonies.sign_in()
    waiting = [(each, await each.begin_sign_in()) for each in (ceremonies, strange_page, strange_id)]
    making = [
        (each, await each.begin_registration(await each.give_leave("carl")))
        for each in (ceremonies, strange_page, strange_id)
    ]
    await lock(house)

    codes = ["origin_not_allowed", "rp_id_not_allowed"]
    (honest, begun), *others = waiting
    accepted(await honest.complete_sign_in(begun))
    assert codes == [refused(await each.complete_sign_in(begun), 400, code)["errorCode"]
                     for (each, begun), code in zip(others, codes, strict=True)]  # fmt: skip
    (honest, begun), *others = making
    accepted(await honest.complete_registration(begun))
    assert codes == [refused(await each.complete_registration(begun), 400, code)["errorCode"]
                     for (each, begun), code in zip(others, codes, strict=True)]  # fmt: skip


async def test_of_locks_at_once_one_makes_the_list(any_house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await any_house.create_application())
    await ceremonies.register()
    any_house.clock.move(seconds=1)
    await Ceremonies(ceremonies.application, origin=ANDROID).register("bob")
    answers = await asyncio.gather(*(any_house.manage("/admin/apps/demo/origins/lock", {}) for _ in range(10)))
    (made,) = [accepted(answer) for answer in answers if answer.status_code == 200]
    assert ([ORIGIN, ANDROID], [RP_ID]) == (made["origins"], made["rpIds"])
    late = [refused(answer, 409, "origins_locked") for answer in answers if answer.status_code != 200]
    assert 9 == len(late)


async def test_a_sign_in_beside_a_lock_is_on_the_list_or_ends_there(any_house: HouseInProcess) -> None:
    ceremonies = Ceremonies(await any_house.create_application())
    await ceremonies.register()
    elsewhere = at(ceremonies, "https://login.example.org")
    bodies = [elsewhere.sign_in_body(await elsewhere.begin_sign_in()) for _ in range(5)]
    completed = [ceremonies.application.public("/signin/complete", body) for body in bodies]
    locked, *_ = await asyncio.gather(lock(any_house), *completed)
    listed = elsewhere.origin in locked["origins"]
    assert (200 if listed else 400) == (await elsewhere.ask_sign_in()).status_code


# --- tricks ---------------------------------------------------------------------------------------------------------

LISTED = [ORIGIN, "https://example.org:8443", "https://xn--bcher-kva.example", "https://192.0.2.7", ANDROID, IOS]

SAME = [
    "HTTPS://EXAMPLE.ORG",
    "https://example.org:443",
    "https://Example.org:8443",
    "https://XN--BCHER-KVA.example",
    "https://192.0.2.7:443",
    ANDROID,
    IOS,
]
"""Other spellings of what is listed."""

TRICKS = {
    "https://example.org:444": "not_allowed",
    "https://example.org:80": "not_allowed",
    "http://example.org": "not_allowed",
    "http://example.org:443": "not_allowed",
    "https://example.org:08443": "malformed",
    "https://example.org:": "malformed",
    "https://example.org:65536": "malformed",
    "https://login.example.org": "not_allowed",
    "https://org": "not_allowed",
    "https://evil-example.org": "not_allowed",
    "https://evilexample.org": "not_allowed",
    "https://example.org.evil.com": "not_allowed",
    "https://example.orgevil.com": "not_allowed",
    "https://example.org.": "malformed",
    "https://.example.org": "malformed",
    "https://*.example.org": "malformed",
    "https://example.org@evil.com": "malformed",
    "https://evil.com@example.org": "malformed",
    "https://user:secret@example.org": "malformed",
    "https://evil.com\\@example.org": "malformed",
    "https://evil.com\\.example.org": "malformed",
    "https://example.org%2eevil.com": "malformed",
    "https://example.org%00.evil.com": "malformed",
    "https://ex\u0430mple.org": "malformed",
    "https://bücher.example": "malformed",
    "https://example\u3002org": "malformed",
    "https://example.or\uff47": "malformed",
    "https://example.\u212arg": "malformed",
    "https://xn--bcher-kva.example.evil.com": "not_allowed",
    "https://192.0.2.007": "malformed",
    "https://192.0.519": "malformed",
    "https://3221225991": "malformed",
    "https://0xc0000207": "malformed",
    "https://0300.0.2.7": "malformed",
    "https://[::ffff:192.0.2.7]": "not_allowed",
    "https://192.0.2.7.evil.com": "not_allowed",
    "https:example.org": "malformed",
    "https:/example.org": "malformed",
    "https:///example.org": "malformed",
    "//example.org": "malformed",
    "example.org": "malformed",
    "null": "malformed",
    "NULL": "malformed",
    "file://": "not_allowed",
    "data:text/html,x": "not_allowed",
    "ANDROID" + ANDROID[7:]: "malformed",
    ANDROID.swapcase().replace("ANDROID:APK-KEY-HASH", "android:apk-key-hash"): "not_allowed",
    ANDROID + "=": "not_allowed",
    ANDROID + "/": "not_allowed",
    ANDROID[:-1]: "not_allowed",
    "android:apk-key-hash-sha256:4VdhdcEj6ZwnZh3tfzXlF3gf5tc": "not_allowed",
    "ios:bundle-id:org.example.App": "not_allowed",
    "ios:bundle-id:org.example.app.evil": "not_allowed",
    "ios:bundle-id:org.example.app ": "malformed",
    " https://example.org": "malformed",
    "https://example.org ": "malformed",
    "https://example.org\n": "malformed",
    "https://evil.com#https://example.org": "not_allowed",
    "https://evil.com/https://example.org": "not_allowed",
    "https://evil.com?https://example.org": "not_allowed",
}
"""What is not on the list, and how it is refused as the page that a request names."""

# Of a page's address only the origin counts in a request. In the client data stands an origin and nothing else.
PAGES = {origin: "malformed" for origin in TRICKS if origin.startswith("https://evil.com") and origin[16] in "#/?"}


@pytest.fixture
async def listed(house: HouseInProcess, ceremonies: Ceremonies) -> Ceremonies:
    """An application with a list, and `ann` who has a passkey."""
    await ceremonies.register()
    await decide(house, origins=LISTED, rpIds=[RP_ID])
    return ceremonies


async def test_another_spelling_of_a_listed_origin_is_the_same(listed: Ceremonies) -> None:
    for origin in SAME:
        await at(listed, origin).sign_in()


async def test_an_origin_that_is_not_listed_begins_nothing(listed: Ceremonies) -> None:
    leave = await listed.give_leave()
    codes = {}
    for origin in TRICKS:
        answers = [await listed.ask_sign_in(origin=origin), await listed.ask_registration(leave, origin=origin)]
        (codes[origin],) = {refused(each, 400, each.json()["errorCode"])["errorCode"] for each in answers}
    assert {origin: f"origin_{code}" for origin, code in TRICKS.items()} == codes


async def test_an_origin_that_is_not_listed_completes_nothing(listed: Ceremonies) -> None:
    codes = {}
    for origin in TRICKS:
        body = at(listed, origin).sign_in_body(await listed.begin_sign_in())
        answer = await listed.application.public("/signin/complete", body)
        codes[origin] = refused(answer, 400, answer.json()["errorCode"])["errorCode"]
    assert {origin: f"origin_{code}" for origin, code in TRICKS.items()} == codes


async def test_client_data_of_another_page_is_refused(house: HouseInProcess, listed: Ceremonies) -> None:
    """The request names a page of the list, and the browser said otherwise."""
    reasons = {}
    for origin in TRICKS:
        body = at(listed, origin).sign_in_body(await listed.begin_sign_in()) | {"origin": ORIGIN}
        problem = refused(await listed.application.public("/signin/complete", body), 400, "signin_complete_error")
        reasons[origin] = problem["reason"]
    assert {origin: f"origin_{code}" for origin, code in (TRICKS | PAGES).items()} == reasons


async def test_one_page_of_the_list_does_not_stand_in_for_another(listed: Ceremonies) -> None:
    body = at(listed, "https://example.org:8443").sign_in_body(await listed.begin_sign_in()) | {"origin": ORIGIN}
    problem = refused(await listed.application.public("/signin/complete", body), 400, "signin_complete_error")
    assert "origin_not_allowed" == problem["reason"]


RP_ID_TRICKS = {
    "login.example.org": "not_allowed",
    "org": "not_allowed",
    "evil-example.org": "not_allowed",
    "ample.org": "not_allowed",
    "example.org.evil.com": "not_allowed",
    "xn--bcher-kva.example": "not_allowed",
    "localhost": "not_allowed",
    "Example.org": "malformed",
    "EXAMPLE.ORG": "malformed",
    "example.org.": "malformed",
    ".example.org": "malformed",
    "*.example.org": "malformed",
    " example.org": "malformed",
    "example.org\n": "malformed",
    "example.org:443": "malformed",
    "https://example.org": "malformed",
    "ex\u0430mple.org": "malformed",
    "example\u3002org": "malformed",
    "192.0.2.7": "malformed",
    "3221225991": "malformed",
    "0xc0000207": "malformed",
    "[::1]": "malformed",
}


async def test_an_rp_id_that_is_not_listed_begins_nothing(listed: Ceremonies) -> None:
    leave = await listed.give_leave()
    codes = {}
    for rp_id in RP_ID_TRICKS:
        answers = [await listed.ask_sign_in(rpid=rp_id), await listed.ask_registration(leave, rpid=rp_id)]
        (codes[rp_id],) = {refused(each, 400, each.json()["errorCode"])["errorCode"] for each in answers}
    assert {rp_id: f"rp_id_{code}" for rp_id, code in RP_ID_TRICKS.items()} == codes


async def test_an_rp_id_that_is_not_listed_completes_nothing(listed: Ceremonies) -> None:
    """Neither the one that the request names nor the one that the authenticator signed for."""
    for rp_id in RP_ID_TRICKS:
        begun = await listed.begin_sign_in()
        named = refused(await listed.complete_sign_in(begun, rpid=rp_id), 400, "signin_complete_error")
        begun = await listed.begin_sign_in()
        signed = refused(await listed.complete_sign_in(begun, knobs={"rp_id": rp_id}), 400, "signin_complete_error")
        assert ("rp_id_mismatch", "rp_id_mismatch") == (named["reason"], signed["reason"])


@pytest.mark.parametrize("list_name", ["origins", "topOrigins", "rpIds"])
async def test_what_is_no_origin_or_no_domain_is_not_listed(
    house: HouseInProcess, listed: Ceremonies, list_name: str
) -> None:
    tricks, noun = (RP_ID_TRICKS, "rp_id") if list_name == "rpIds" else (TRICKS, "origin")
    before = accepted(await house.manage("/admin/apps/demo/origins"))
    for text in (text for text, code in tricks.items() if code == "malformed"):
        refused(await house.manage("/admin/apps/demo/origins", {list_name: [text]}), 400, f"{noun}_malformed")
    assert before == accepted(await house.manage("/admin/apps/demo/origins"))


# --- frames ---------------------------------------------------------------------------------------------------------

FRAMER = "https://framer.example"
FRAMED = {"cross_origin": True, "top_origin": FRAMER}


async def framed_sign_in(ceremonies: Ceremonies, **knobs: Any) -> str:
    """`200`, or the reason of the refusal."""
    answer = await ceremonies.complete_sign_in(await ceremonies.begin_sign_in(), knobs=FRAMED | knobs)
    return "200" if answer.status_code == 200 else refused(answer, 400, "signin_complete_error")["reason"]


async def test_each_application_names_its_own_frames(house: HouseInProcess) -> None:
    one, other = [Ceremonies(await house.create_application(name)) for name in ("one", "other")]
    for each in (one, other):
        await each.register()
    await decide(house, "one", topOrigins=[FRAMER])

    assert ["200", "cross_origin_not_allowed"] == [await framed_sign_in(each) for each in (one, other)]
    assert "top_origin_not_allowed" == await framed_sign_in(one, top_origin=EVIL)
    assert "top_origin_not_allowed" == await framed_sign_in(one, top_origin=ORIGIN)

    begun = await other.begin_registration(await other.give_leave("bob"))
    problem = refused(await other.complete_registration(begun, knobs=FRAMED), 400, "fido2_invalid_registration")
    assert "cross_origin_not_allowed" == problem["reason"]
    begun = await one.begin_registration(await one.give_leave("bob"))
    accepted(await one.complete_registration(begun, knobs=FRAMED))


async def test_a_frame_is_neither_learnt_nor_a_page(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    await decide(house, topOrigins=[FRAMER])
    await ceremonies.register()
    assert "200" == await framed_sign_in(ceremonies)
    assert [(ORIGIN, RP_ID)] == await seen(house)
    await lock(house)
    refused(await at(ceremonies, FRAMER).ask_sign_in(), 400, "origin_not_allowed")


# --- /.well-known/webauthn ------------------------------------------------------------------------------------------


async def related(house: HouseInProcess, host: str) -> httpx.Response:
    return await house.get("/.well-known/webauthn", Host=host)


async def answer_for(house: HouseInProcess, app_id: str, rp_id: str = RP_ID) -> httpx.Response:
    return await house.manage(f"/admin/apps/{app_id}/rp-ids/answer-for", {"rpId": rp_id})


@pytest.fixture
async def answering(house: HouseInProcess, application: Application) -> HouseInProcess:
    """`demo` answers for example.org."""
    await decide(house, origins=[ORIGIN, "https://example.net:8443", "http://localhost:3000", ANDROID, IOS])
    accepted_empty(await answer_for(house, "demo"))
    return house


def accepted_empty(response: httpx.Response) -> None:
    assert (204, b"") == (response.status_code, response.content), response.text


async def test_the_host_of_an_rp_id_names_the_pages_that_may_use_it(answering: HouseInProcess) -> None:
    for host in ("example.org", "Example.ORG", "example.org:443", "example.org:8443", "EXAMPLE.org:"):
        response = await related(answering, host)
        assert {"origins": [ORIGIN, "https://example.net:8443"]} == accepted(response)
    assert "application/json; charset=utf-8" == response.headers["content-type"]
    assert "*" == response.headers["access-control-allow-origin"]
    assert "public, max-age=300" == response.headers["cache-control"]
    assert "host" == response.headers["vary"].lower()


async def test_a_head_is_answered_like_a_get(answering: HouseInProcess) -> None:
    head = await answering.client.head("/.well-known/webauthn", headers={"Host": RP_ID})
    whole = await related(answering, RP_ID)
    assert (200, whole.headers) == (head.status_code, head.headers)


async def test_nothing_else_may_be_done_there(answering: HouseInProcess) -> None:
    response = await answering.client.post("/.well-known/webauthn", json={}, headers={"Host": RP_ID})
    refused(response, 405, "method_not_allowed")


HOSTS = [
    "passkeys.narthex.test",
    "login.example.org",
    "evil-example.org",
    "example.org.evil.com",
    "org",
    "example.org.",
    ".example.org",
    "example.org:443:443",
    "example.org:x",
    "example.org/",
    "example.org,evil.com",
    "evil.com@example.org",
    "example.org evil.com",
    "%65xample.org",
    "[::1]",
    "[::1]:443",
    ":443",
    "",
    "' or 1=1 --",
    "%",
    "e" * 10_000,
    "ex\u00e4mple.org",
]
"""None of them is example.org."""


async def test_another_host_has_nothing_to_say(answering: HouseInProcess) -> None:
    for host in HOSTS:
        response = await answering.client.get("/.well-known/webauthn", headers={b"Host": host.encode("latin-1")})
        refused(response, 404, "no_related_origins")
        assert len(response.content) < 1000
        assert "cache-control" not in response.headers


async def test_other_headers_do_not_name_the_host(answering: HouseInProcess) -> None:
    forged = {"X-Forwarded-Host": RP_ID, "Forwarded": f"host={RP_ID}", "X-Host": RP_ID, "Origin": ORIGIN}
    response = await answering.get("/.well-known/webauthn", Host="evil.com", **forged)
    refused(response, 404, "no_related_origins")


async def test_an_application_without_a_list_names_no_page(house: HouseInProcess, ceremonies: Ceremonies) -> None:
    """Open is not `everywhere`: what was seen is no list."""
    await ceremonies.register()
    accepted_empty(await answer_for(house, "demo"))
    assert {"origins": []} == accepted(await related(house, RP_ID))


async def test_one_application_answers_for_a_host(any_house: HouseInProcess) -> None:
    for name in ("one", "other"):
        await any_house.create_application(name)
    await decide(any_house, "one", origins=[ORIGIN])
    await decide(any_house, "other", origins=[EVIL])
    accepted_empty(await answer_for(any_house, "one"))
    accepted_empty(await answer_for(any_house, "one"))
    refused(await answer_for(any_house, "other"), 409, "rp_id_answered")
    accepted_empty(await any_house.manage("/admin/apps/other/rp-ids/leave", {"rpId": RP_ID}))

    assert [ORIGIN] == accepted(await related(any_house, RP_ID))["origins"]
    lists = [accepted(await any_house.manage(f"/admin/apps/{name}/origins")) for name in ("one", "other")]
    assert [[RP_ID], []] == [each["relatedRpIds"] for each in lists]

    accepted_empty(await any_house.manage("/admin/apps/one/rp-ids/leave", {"rpId": RP_ID}))
    refused(await related(any_house, RP_ID), 404, "no_related_origins")
    accepted_empty(await answer_for(any_house, "other"))
    assert [EVIL] == accepted(await related(any_house, RP_ID))["origins"]


async def test_a_host_is_won_once(any_house: HouseInProcess) -> None:
    names = [f"app{n}" for n in range(8)]
    for name in names:
        await any_house.create_application(name)
        await decide(any_house, name, origins=[f"https://{name}.example"])
    answers = await asyncio.gather(*(answer_for(any_house, name) for name in names for _ in range(2)))
    winners = [name for name, won in zip([n for n in names for _ in range(2)], answers, strict=True) if won.is_success]
    assert 1 == len(set(winners))
    assert 2 == len(winners)
    assert [f"https://{winners[0]}.example"] == accepted(await related(any_house, RP_ID))["origins"]


async def test_a_host_that_is_no_domain_is_answered_by_nobody(answering: HouseInProcess) -> None:
    for rp_id in (text for text, code in RP_ID_TRICKS.items() if code == "malformed"):
        for act in ("answer-for", "leave"):
            refused(await answering.manage(f"/admin/apps/demo/rp-ids/{act}", {"rpId": rp_id}), 400, "rp_id_malformed")


async def test_the_host_of_an_application_that_is_gone_is_free(answering: HouseInProcess) -> None:
    refused(await answer_for(answering, "nobody"), 404, "application_not_found")
    accepted_empty(await answer_for(answering, "demo", "example.com"))
    assert accepted(await related(answering, "example.com")) == accepted(await related(answering, RP_ID))
