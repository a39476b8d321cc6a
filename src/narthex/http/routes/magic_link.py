"""The page that a magic link leads to: it asks for a click, and the click signs in.

Programs that read mail before people do open every link in it, and press no button. So looking at the page, as often
as anybody likes, uses nothing up; the form on it spends the ticket and leads on to the backend's address with a
sign-in token. There is no script, nothing is fetched but the style sheet, and no address, user id or token stands on
the page.

Whoever holds no ticket that opens is told one and the same, whether the application exists or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from narthex.base.errors import Malformed, Unavailable
from narthex.http.authenticate import Access
from narthex.http.environment import AnonymousCall, Header, Page
from narthex.http.routing import route
from narthex.ports.changes import ApplicationGone, NonceSpent
from narthex.tokens.payloads import ExpiredToken, LinkTicket
from narthex.usecases.call import Call
from narthex.usecases.magic_link import host_of, is_served, open_link, read_link, require_unused

HTML_TYPE: Final = b"text/html; charset=utf-8"
_OTHER_SITES: Final = ("cross-site", "same-site")
_NOT_KEPT: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-store"),
    (b"x-robots-tag", b"noindex, nofollow"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class _Words:
    """What the page says in one language. `{host}` and `{time}` are filled in."""

    title: str
    lead: str
    button: str
    until: str
    not_you: str
    unknown: tuple[str, str]
    """Title and text, as of all that follow."""
    spent: tuple[str, str]
    expired: tuple[str, str]
    off: tuple[str, str]
    away: tuple[str, str]


_WORDS: Final = {
    "en": _Words(
        title="Sign in to {host}",
        lead="You came here by a link from a mail. One click, and you are signed in.",
        button="Sign in",
        until="This link works once, until {time}.",
        not_you="You did not ask to sign in? Close this page: nothing has happened.",
        unknown=(
            "This link does not work",
            "Perhaps a part of it got lost on the way. Open the mail again and use the whole link, or ask for a new "
            "one where you want to sign in.",
        ),
        spent=(
            "This link was used already",
            "Each link signs in once. If you are not signed in, ask for a new one where you want to sign in. If you "
            "did not use it yourself, somebody else may read your mail: change the password of your mailbox.",
        ),
        expired=("This link is too old", "Links work for a limited time. Ask for a new one where you want to sign in."),
        off=(
            "This link cannot be used now",
            "Signing in by mail is switched off here. Sign in as you usually do, or ask those who run the site.",
        ),
        away=("Please try again in a moment", "Something is not working just now. Your link has not been used."),
    ),
    "de": _Words(
        title="Anmelden bei {host}",
        lead="Ein Link aus einer E-Mail hat Sie hierher geführt. Ein Klick, und Sie sind angemeldet.",
        button="Anmelden",
        until="Dieser Link gilt einmal, bis {time}.",
        not_you="Sie wollten sich nicht anmelden? Schließen Sie diese Seite: Es ist nichts geschehen.",
        unknown=(
            "Dieser Link funktioniert nicht",
            "Vielleicht ist unterwegs ein Teil verloren gegangen. Öffnen Sie die E-Mail noch einmal und verwenden Sie "
            "den ganzen Link, oder fordern Sie dort, wo Sie sich anmelden möchten, einen neuen an.",
        ),
        spent=(
            "Dieser Link wurde schon verwendet",
            "Jeder Link meldet einmal an. Falls Sie nicht angemeldet sind, fordern Sie dort, wo Sie sich anmelden "
            "möchten, einen neuen an. Falls Sie ihn nicht selbst verwendet haben, kann jemand anderes Ihre E-Mails "
            "lesen: Ändern Sie das Passwort Ihres Postfachs.",
        ),
        expired=(
            "Dieser Link ist abgelaufen",
            "Links gelten nur für eine gewisse Zeit. Fordern Sie dort, wo Sie sich anmelden möchten, einen neuen an.",
        ),
        off=(
            "Dieser Link ist zurzeit nicht verwendbar",
            "Die Anmeldung per E-Mail ist hier abgeschaltet. Melden Sie sich wie gewohnt an, oder fragen Sie die "
            "Betreiber der Website.",
        ),
        away=(
            "Bitte versuchen Sie es gleich noch einmal",
            "Etwas funktioniert gerade nicht. Ihr Link ist noch nicht verwendet.",
        ),
    ),
    "fr": _Words(
        title="Connexion à {host}",
        lead="Un lien reçu par e-mail vous a mené ici. Un clic, et vous êtes connecté.",
        button="Se connecter",
        until="Ce lien fonctionne une seule fois, jusqu’au {time}.",
        not_you="Vous n’avez pas demandé à vous connecter\u00a0? Fermez cette page\u00a0: il ne s’est rien passé.",
        unknown=(
            "Ce lien ne fonctionne pas",
            "Une partie s’est peut-être perdue en route. Rouvrez l’e-mail et utilisez le lien entier, ou demandez-en "
            "un nouveau là où vous voulez vous connecter.",
        ),
        spent=(
            "Ce lien a déjà été utilisé",
            "Chaque lien sert une seule fois. Si vous n’êtes pas connecté, demandez-en un nouveau là où vous voulez "
            "vous connecter. Si vous ne l’avez pas utilisé vous-même, quelqu’un d’autre peut lire vos e-mails\u00a0: "
            "changez le mot de passe de votre messagerie.",
        ),
        expired=(
            "Ce lien a expiré",
            "Les liens ne fonctionnent que pendant un certain temps. Demandez-en un nouveau là où vous voulez vous "
            "connecter.",
        ),
        off=(
            "Ce lien est inutilisable pour le moment",
            "La connexion par e-mail est désactivée ici. Connectez-vous comme d’habitude, ou adressez-vous aux "
            "responsables du site.",
        ),
        away=(
            "Veuillez réessayer dans un instant",
            "Quelque chose ne fonctionne pas en ce moment. Votre lien n’a pas été utilisé.",
        ),
    ),
    "es": _Words(
        title="Iniciar sesión en {host}",
        lead="Ha llegado aquí por un enlace del correo. Un clic y habrá iniciado sesión.",
        button="Iniciar sesión",
        until="Este enlace sirve una sola vez, hasta {time}.",
        not_you="¿No ha pedido iniciar sesión? Cierre esta página: no ha ocurrido nada.",
        unknown=(
            "Este enlace no funciona",
            "Quizá se perdió una parte por el camino. Abra de nuevo el correo y use el enlace completo, o pida otro "
            "donde quiera iniciar sesión.",
        ),
        spent=(
            "Este enlace ya se ha usado",
            "Cada enlace sirve una sola vez. Si no ha iniciado sesión, pida otro donde quiera iniciarla. Si no lo ha "
            "usado usted, otra persona puede leer su correo: cambie la contraseña de su buzón.",
        ),
        expired=(
            "Este enlace ha caducado",
            "Los enlaces solo sirven durante un tiempo. Pida otro donde quiera iniciar sesión.",
        ),
        off=(
            "Este enlace no se puede usar ahora",
            "El inicio de sesión por correo está desactivado aquí. Inicie sesión como siempre o pregunte a los "
            "responsables del sitio.",
        ),
        away=("Vuelva a intentarlo en un momento", "Algo no funciona ahora mismo. Su enlace no se ha usado."),
    ),
}


@route("GET", "/magic-link/{app_id}/{ticket}", access=Access.ANONYMOUS, answer=Page, for_people=True)
async def show_magic_link(call: AnonymousCall, app_id: str, ticket: str) -> Page:
    """The page that a magic link leads to. Looking at it uses nothing up."""
    link = await _looked_at(call, app_id, ticket)
    return link if isinstance(link, Page) else _question(*link)


@route("POST", "/magic-link/{app_id}/{ticket}", access=Access.ANONYMOUS, answer=Page, for_people=True)
async def use_magic_link(call: AnonymousCall, app_id: str, ticket: str) -> Page:
    """The click on that page: uses the link up, and leads on with a sign-in token."""
    found = await _looked_at(call, app_id, ticket)
    if isinstance(found, Page):
        return found
    application_call, link = found
    if call.fetch_site in _OTHER_SITES:
        # A page elsewhere pressed the button: its visitor would be signed in as whoever made that page (login CSRF).
        return _question(application_call, link)
    try:
        address = await open_link(application_call, link)
    except NonceSpent:
        return _explained(410, "spent", link.locale)
    except Unavailable as e:
        return _away(e, link.locale)
    except ApplicationGone:
        return _explained(404, "unknown")
    return Page(b"", b"text/plain; charset=utf-8", 303, (*_NOT_KEPT, (b"location", address.encode("ascii"))))


@route("GET", "/assets/magic-link.css", access=Access.ANONYMOUS, answer=Page)
async def magic_link_style(call: AnonymousCall) -> Page:
    """How that page looks."""
    return Page(_style_sheet(), b"text/css; charset=utf-8", headers=((b"cache-control", b"public, max-age=3600"),))


async def _looked_at(anonymous: AnonymousCall, app_id: str, ticket: str) -> tuple[Call, LinkTicket] | Page:
    """The link behind a ticket, or the page that says why there is none."""
    locale = ""
    try:
        call = await anonymous.enter(app_id)
        if call is None:
            return _explained(404, "unknown")
        link = await read_link(call, ticket)
        locale = link.locale
        await require_unused(call, link)
    except ExpiredToken:
        return _explained(410, "expired", locale)
    except NonceSpent:
        return _explained(410, "spent", locale)
    except Malformed:
        return _explained(404, "unknown")
    except Unavailable as e:
        return _away(e, locale)
    return (call, link) if is_served(call, link) else _explained(403, "off", locale)


def _question(call: Call, link: LinkTicket) -> Page:
    words, language = _words_for(link.locale)
    host = escape(host_of(link.url_template))
    content = (
        # A long name breaks between its labels, so that nobody reads another one into it.
        f"<h1>{words.title.format(host=host.replace('.', '.<wbr>'))}</h1>"
        f"<p>{words.lead}</p>"
        # Without an action, the form goes to this page's own address, which nothing on the page need repeat.
        f"<form method='post'><button>{words.button}</button></form>"
        f"<p class='soft'>{words.until.format(time=_time(link.expires_at))}</p>"
        f"<p class='soft'>{words.not_you}</p>"
    )
    return _page(200, language, words.title.format(host=host), content, leads_to=link.url_template)


def _explained(status: int, reason: str, locale: str = "") -> Page:
    words, language = _words_for(locale)
    title, text = getattr(words, reason)
    return _page(status, language, title, f"<h1>{title}</h1><p>{text}</p>")


def _away(refusal: Unavailable, locale: str) -> Page:
    page = _explained(503, "away", locale)
    return Page(
        page.content,
        page.media_type,
        page.status,
        (*page.headers, (b"retry-after", str(refusal.retry_after_s).encode())),
    )


def _page(status: int, language: str, title: str, content: str, *, leads_to: str = "") -> Page:
    html = (
        f"<!doctype html><html lang='{language}'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'><meta name='robots' content='noindex, nofollow'>"
        # Found from `/magic-link/…/…`, also where a proxy serves us below a path of its own.
        f"<title>{title}</title><link rel='stylesheet' href='../../assets/magic-link.css'></head>"
        f"<body><main>{content}</main></body></html>"
    )
    return Page(html.encode(), HTML_TYPE, status, (*_NOT_KEPT, (b"content-security-policy", _policy(leads_to))))


def _policy(leads_to: str) -> bytes:
    """What the page may do: be styled, and send its form.

    Chromium holds `form-action` against every redirect that follows the form, also those that the backend's page makes
    to other hosts. The form's address is fixed, and nothing of the page is a visitor's; so the scheme is named alone.
    """
    form = "'none'"
    if leads_to:
        form = "'self' https:" if leads_to[:6].lower() == "https:" else "'self' https: http:"
    return f"default-src 'none'; style-src 'self'; form-action {form}; base-uri 'none'; frame-ancestors 'none'".encode()


def _words_for(locale: str) -> tuple[_Words, str]:
    """In the nearest language, as the mail was: the part of the tag before its first hyphen."""
    language = locale.partition("-")[0].lower()
    language = language if language in _WORDS else "en"
    return _WORDS[language], language


def _time(instant: datetime) -> str:
    return f"<time datetime='{instant:%Y-%m-%dT%H:%MZ}'>{instant:%Y-%m-%d %H:%M} UTC</time>"


@cache
def _style_sheet() -> bytes:
    return files("narthex.http").joinpath("assets/magic-link.css").read_bytes()
