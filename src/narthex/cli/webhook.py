"""Webhooks at the command line. A new secret stands alone on standard output, so that it can be piped."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators

from narthex.cli.operator import (
    AsJson,
    Config,
    Cursor,
    Name,
    Yes,
    counted,
    operate_within,
    print_answer,
    print_json,
    print_table,
    printable,
    require_agreement,
    said,
    working,
)
from narthex.http.problems import sentence

if TYPE_CHECKING:
    from narthex.http.routes.webhook import DeliveriesAnswer, DeliveryAnswer, NewWebhookAnswer, WebhookAnswer
    from narthex.usecases.call import Call

webhooks = App(name="webhook", help="Where an application is told of its events.")

WebhookId = Annotated[str, Parameter(name="WEBHOOK", help="The webhook's id, as `narthex webhook list` prints it.")]
EventTypes = Annotated[
    list[str] | None,
    Parameter(name="--event-type", help="A type of event, or `ApiUser*`; repeat for more. Without any: all."),
]
Description = Annotated[str | None, Parameter(help="What people call it.")]
_MOST_COUNTED = 100
_LOOK_AGAIN_AFTER_S = 0.5


@webhooks.command(name="list")
def list_(name: Name, /, *, as_json: AsJson = False, config: Config = None) -> None:
    """Print an application's webhooks, and which of them fail."""
    from narthex.http.routes.webhook import webhooks_list

    answer: list[WebhookAnswer] = operate_within(config, name, webhooks_list)
    if as_json:
        print_answer(answer)
        return
    if not answer:
        print(f"There are no webhooks yet: `narthex webhook create {name} URL` makes one.")
        return
    print_table(
        ("ID", "STATE", "EVENTS", "URL", "DESCRIPTION"),
        ((each.id, _state(each), each.event_types or "all", each.url, each.description) for each in answer),
    )


@webhooks.command
def create(
    name: Name,
    url: Annotated[str, Parameter(help="Where messages are posted: a public https address.")],
    /,
    *,
    event_type: EventTypes = None,
    description: Description = None,
    enabled: Annotated[bool, Parameter(help="Whether anything is sent there from the start.")] = True,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Tell another address of an application's events, and print the secret that signs them. It is shown only now."""
    from narthex.http.routes.webhook import WebhookBody, webhooks_create

    body = WebhookBody(url=url, event_types=list(event_type or ()), description=description, enabled=enabled)
    _print_secret(operate_within(config, name, lambda call: webhooks_create(call, body)), as_json=as_json)


@webhooks.command(name="set")
def set_(
    name: Name,
    webhook_id: WebhookId,
    /,
    *,
    url: Annotated[str | None, Parameter(help="Where messages are posted.")] = None,
    event_type: EventTypes = None,
    description: Description = None,
    enabled: Annotated[bool | None, Parameter(help="Whether anything is sent there.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide something else for a webhook; what is not named stays."""
    from narthex.http.routes.webhook import ReviseWebhookBody, webhooks_revise

    types: list[str | None] | None = None if event_type is None else list(event_type)
    body = ReviseWebhookBody(url=url, event_types=types, description=description, enabled=enabled)
    answer = operate_within(config, name, lambda call: webhooks_revise(call, body, webhook_id=webhook_id))
    if as_json:
        print_answer(answer)
        return
    print(f"{printable(answer.url)}: {_state(answer)}, told of {said(answer.event_types or 'all')}.")


@webhooks.command
def delete(
    name: Name, webhook_id: WebhookId, /, *, yes: Yes = False, as_json: AsJson = False, config: Config = None
) -> None:
    """Forget a webhook, and what was or is to be sent to it."""
    from narthex.http.routes.webhook import DeliveriesQuery, webhooks_delete, webhooks_deliveries, webhooks_list

    async def look(call: Call) -> tuple[int, str]:
        query = DeliveriesQuery(state="pending", limit=_MOST_COUNTED)
        waiting: DeliveriesAnswer = await webhooks_deliveries(call, query, webhook_id=webhook_id)
        url = next(each.url for each in await webhooks_list(call) if each.id == webhook_id.lower())
        return len(waiting.deliveries), url

    waiting, url = operate_within(config, name, look)
    more = "or more " if waiting == _MOST_COUNTED else ""
    question = f"{counted(waiting, f'{more}message')} for {url} {'is' if waiting == 1 else 'are'} still to be sent"
    require_agreement(f"{printable(question)}, and will not be. Delete the webhook?", yes=yes)
    operate_within(config, name, lambda call: webhooks_delete(call, webhook_id=webhook_id))
    if as_json:
        print_json({"id": webhook_id, "is_deleted": True})
        return
    print(f"Nothing is sent to {printable(url)} any more.")


@webhooks.command
def rotate(
    name: Name,
    webhook_id: WebhookId,
    /,
    *,
    overlap: Annotated[
        timedelta,
        Parameter(help="For how long both secrets sign: `0s`, `12h`, at most `7d`.", show_default=False),
    ] = timedelta(days=1),
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Draw a new secret, and print it; for a day, or as long as --overlap says, messages bear both signatures."""
    from narthex.http.routes.webhook import RotateWebhookBody, webhooks_rotate

    body = RotateWebhookBody(overlap_seconds=overlap // timedelta(seconds=1))
    answer = operate_within(config, name, lambda call: webhooks_rotate(call, body, webhook_id=webhook_id))
    _print_secret(answer, as_json=as_json)


@webhooks.command(name="test")
def send_test(
    name: Name,
    webhook_id: WebhookId,
    /,
    *,
    wait: Annotated[
        int, Parameter(help="Seconds to wait for what becomes of it.", validator=validators.Number(gte=0, lte=600))
    ] = 10,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Have the server send a test, and wait for what becomes of it. Ends with status 1 unless it got there."""
    from narthex.http.routes.webhook import DeliveriesQuery, webhooks_deliveries, webhooks_test

    async def act(call: Call) -> DeliveryAnswer | None:
        delivery_id = (await webhooks_test(call, webhook_id=webhook_id)).delivery_id
        for turn in range(1 + round(wait / _LOOK_AGAIN_AFTER_S)):
            await asyncio.sleep(_LOOK_AGAIN_AFTER_S if turn else 0)
            page: DeliveriesAnswer = await webhooks_deliveries(call, DeliveriesQuery(), webhook_id=webhook_id)
            sent = next((each for each in page.deliveries if each.id == delivery_id), None)
            if sent is None or sent.tries or sent.state != "pending":
                break
        return sent

    with working("Waiting until the server has sent it"):
        sent = operate_within(config, name, act)
    got_there = sent is not None and sent.state == "delivered"
    if as_json:
        print_answer(sent)
    elif got_there and sent is not None:
        print(f"It got there: the receiver answered {sent.status}.")
    if got_there:
        return
    if sent is None or sent.problem:
        words = "it did not get there: " + (sent.problem if sent is not None else "the webhook is gone")
    else:
        words = "it was not sent yet; does the server run?"
    print(sentence(printable(words)), file=sys.stderr)
    raise SystemExit(1)


@webhooks.command
def deliveries(
    name: Name,
    webhook_id: WebhookId,
    /,
    *,
    state: Annotated[
        Literal["pending", "delivered", "failed"] | None, Parameter(help="Only those; `failed` means given up.")
    ] = None,
    limit: Annotated[int, Parameter(help="How many at most.", validator=validators.Number(gte=1, lte=100))] = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Print what was sent to a webhook in the last 30 days, or is to be, newest first."""
    from narthex.http.routes.webhook import DeliveriesQuery, webhooks_deliveries

    query = DeliveriesQuery(state=state, cursor=cursor, limit=limit)
    answer = operate_within(config, name, lambda call: webhooks_deliveries(call, query, webhook_id=webhook_id))
    if as_json:
        print_answer(answer)
        return
    if not answer.deliveries:
        print("There are none.")
        return
    print_table(
        ("ID", "AT", "EVENT", "STATE", "TRIES", "STATUS", "PROBLEM"),
        (
            (
                each.id,
                each.created_at[:16].replace("T", " "),
                each.event_type,
                each.state,
                each.tries,
                each.status,
                each.problem,
            )
            for each in answer.deliveries
        ),
    )
    if answer.next_cursor is not None:
        print(f"There are more: add `--cursor {answer.next_cursor}`.")


@webhooks.command
def retry(
    name: Name,
    webhook_id: WebhookId,
    delivery_id: Annotated[str, Parameter(name="DELIVERY", help="Its id, as `narthex webhook deliveries` prints it.")],
    /,
    *,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Have the server send a message again, whatever became of it."""
    from narthex.http.routes.webhook import webhooks_retry

    operate_within(config, name, lambda call: webhooks_retry(call, webhook_id=webhook_id, delivery_id=delivery_id))
    if as_json:
        print_json({"id": delivery_id, "state": "pending"})
        return
    print("The server sends it again within seconds.")


def _print_secret(answer: NewWebhookAnswer, *, as_json: bool) -> None:
    if as_json:
        print_answer(answer)
        return
    print(str(answer.secret), flush=True)
    print(f"It is shown only now: what is sent from webhook {answer.id} is signed with it.", file=sys.stderr)


def _state(answer: WebhookAnswer) -> str:
    if not answer.enabled:
        return "disabled"
    since = answer.failing_since
    return "enabled" if since is None else f"failing since {since[:16].replace('T', ' ')}"
