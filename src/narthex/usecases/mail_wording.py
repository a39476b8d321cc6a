"""What the server's own mails say, in the languages that it speaks, and how they look.

Text and HTML are made from the same words. Nothing in the HTML is fetched from anywhere: no image, no font, no
counter of who read it. It follows the reader's choice of light or dark, and reads well without any style at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from narthex.ports.records import MailTemplate


@dataclass(frozen=True, slots=True)
class _Words:
    """One kind of mail in one language, as a reader meets it from top to bottom."""

    subject: str
    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    """What is said, and the placeholder that says it."""
    advice: tuple[str, ...]
    button: str = ""
    """Above the link; empty for a mail without one."""
    by_hand: str = ""
    """What to do where the button does nothing."""


FOOTER: Final = {
    "en": "Sent by $SENDER, automatically.",
    "de": "Automatisch gesendet von $SENDER.",
    "fr": "Envoyé automatiquement par $SENDER.",
    "es": "Enviado automáticamente por $SENDER.",
}

UNKNOWN: Final = {"en": "unknown", "de": "unbekannt", "fr": "inconnu", "es": "desconocido"}
"""What stands for a value that is not known."""

_WORDS: Final = {
    ("magic-link", "en"): _Words(
        subject="Sign in to $HOST",
        title="Sign in to $HOST",
        lead="You asked to sign in to $HOST. This link does it:",
        button="Sign in",
        by_hand="If the button does nothing, copy this address into your browser:",
        facts=(("Asked for", "$TIME"), ("Works until", "$UNTIL")),
        advice=(
            "If it was not you, do nothing: nobody gets in without this link, and it stops working by itself.",
            "Keep the link to yourself. Nobody from $HOST will ever ask you for it.",
        ),
    ),
    ("magic-link", "de"): _Words(
        subject="Anmelden bei $HOST",
        title="Anmelden bei $HOST",
        lead="Sie möchten sich bei $HOST anmelden. Dieser Link meldet Sie an:",
        button="Anmelden",
        by_hand="Falls die Schaltfläche nichts bewirkt, kopieren Sie diese Adresse in Ihren Browser:",
        facts=(("Angefordert", "$TIME"), ("Gültig bis", "$UNTIL")),
        advice=(
            "Falls Sie das nicht waren, müssen Sie nichts tun: Ohne diesen Link kommt niemand hinein, "
            "und er wird von selbst ungültig.",
            "Geben Sie den Link nicht weiter. Niemand von $HOST wird Sie je danach fragen.",
        ),
    ),
    ("magic-link", "fr"): _Words(
        subject="Connexion à $HOST",
        title="Connexion à $HOST",
        lead="Vous avez demandé à vous connecter à $HOST. Ce lien vous connecte\u00a0:",
        button="Se connecter",
        by_hand="Si le bouton ne fonctionne pas, copiez cette adresse dans votre navigateur\u00a0:",
        facts=(("Demandé le", "$TIME"), ("Valable jusqu’au", "$UNTIL")),
        advice=(
            "Si ce n’était pas vous, ne faites rien\u00a0: sans ce lien, personne ne peut entrer, "
            "et il cessera de fonctionner de lui-même.",
            "Gardez ce lien pour vous. Personne de $HOST ne vous le demandera jamais.",
        ),
    ),
    ("magic-link", "es"): _Words(
        subject="Iniciar sesión en $HOST",
        title="Iniciar sesión en $HOST",
        lead="Ha pedido iniciar sesión en $HOST. Este enlace inicia la sesión:",
        button="Iniciar sesión",
        by_hand="Si el botón no funciona, copie esta dirección en su navegador:",
        facts=(("Solicitado", "$TIME"), ("Válido hasta", "$UNTIL")),
        advice=(
            "Si no ha sido usted, no haga nada: sin este enlace nadie puede entrar, y dejará de funcionar por sí solo.",
            "No comparta el enlace. Nadie de $HOST se lo pedirá nunca.",
        ),
    ),
    ("new-passkey", "en"): _Words(
        subject="A new passkey for $HOST",
        title="A new passkey was added",
        lead="A new passkey can now sign in to your account at $HOST.",
        facts=(("Added", "$TIME"), ("Device", "$DEVICE")),
        advice=(
            "If it was you, there is nothing to do.",
            "If it was not you, somebody else can get into your account. Sign in to $HOST as you always do, "
            "remove this passkey, and tell the people who run $HOST.",
        ),
    ),
    ("new-passkey", "de"): _Words(
        subject="Ein neuer Passkey für $HOST",
        title="Ein neuer Passkey ist hinzugekommen",
        lead="Mit einem neuen Passkey kann man sich ab jetzt bei Ihrem Konto auf $HOST anmelden.",
        facts=(("Hinzugefügt", "$TIME"), ("Gerät", "$DEVICE")),
        advice=(
            "Falls Sie das waren, müssen Sie nichts tun.",
            "Falls Sie das nicht waren, kann jemand anderes in Ihr Konto. Melden Sie sich wie gewohnt bei $HOST an, "
            "entfernen Sie diesen Passkey und benachrichtigen Sie die Betreiber von $HOST.",
        ),
    ),
    ("new-passkey", "fr"): _Words(
        subject="Une nouvelle clé d’accès pour $HOST",
        title="Une nouvelle clé d’accès a été ajoutée",
        lead="Une nouvelle clé d’accès permet désormais de se connecter à votre compte sur $HOST.",
        facts=(("Ajoutée le", "$TIME"), ("Appareil", "$DEVICE")),
        advice=(
            "Si c’était vous, il n’y a rien à faire.",
            "Si ce n’était pas vous, quelqu’un d’autre peut accéder à votre compte. Connectez-vous à $HOST comme "
            "d’habitude, supprimez cette clé d’accès et prévenez les responsables de $HOST.",
        ),
    ),
    ("new-passkey", "es"): _Words(
        subject="Una nueva llave de acceso para $HOST",
        title="Se ha añadido una llave de acceso",
        lead="Una nueva llave de acceso permite ahora iniciar sesión en su cuenta de $HOST.",
        facts=(("Añadida", "$TIME"), ("Dispositivo", "$DEVICE")),
        advice=(
            "Si ha sido usted, no tiene que hacer nada.",
            "Si no ha sido usted, otra persona puede entrar en su cuenta. Inicie sesión en $HOST como siempre, "
            "elimine esta llave de acceso y avise a los responsables de $HOST.",
        ),
    ),
    ("recovery", "en"): _Words(
        subject="Sign-in to $HOST with a link from a mail",
        title="A link from a mail was used to sign in",
        lead="Somebody signed in to your account at $HOST with a link that was mailed to you.",
        facts=(("Signed in", "$TIME"), ("Device", "$DEVICE")),
        advice=(
            "If it was you, there is nothing to do.",
            "If it was not you, somebody else can read your mail. Change the password of your mailbox first. "
            "Then sign in to $HOST, remove every passkey that you do not know, and tell the people who run $HOST.",
        ),
    ),
    ("recovery", "de"): _Words(
        subject="Anmeldung bei $HOST mit einem Link aus einer E-Mail",
        title="Anmeldung mit einem Link aus Ihrem Postfach",
        lead="Jemand hat sich bei Ihrem Konto auf $HOST mit einem Link angemeldet, der an Sie gesendet wurde.",
        facts=(("Angemeldet", "$TIME"), ("Gerät", "$DEVICE")),
        advice=(
            "Falls Sie das waren, müssen Sie nichts tun.",
            "Falls Sie das nicht waren, kann jemand anderes Ihre E-Mails lesen. Ändern Sie zuerst das Passwort Ihres "
            "Postfachs. Melden Sie sich dann bei $HOST an, entfernen Sie jeden Passkey, den Sie nicht kennen, und "
            "benachrichtigen Sie die Betreiber von $HOST.",
        ),
    ),
    ("recovery", "fr"): _Words(
        subject="Connexion à $HOST avec un lien reçu par e-mail",
        title="Un lien reçu par e-mail a servi à se connecter",
        lead="Quelqu’un s’est connecté à votre compte sur $HOST avec un lien qui vous a été envoyé.",
        facts=(("Connexion le", "$TIME"), ("Appareil", "$DEVICE")),
        advice=(
            "Si c’était vous, il n’y a rien à faire.",
            "Si ce n’était pas vous, quelqu’un d’autre peut lire vos e-mails. Changez d’abord le mot de passe de votre "
            "messagerie. Connectez-vous ensuite à $HOST, supprimez toute clé d’accès que vous ne connaissez pas et "
            "prévenez les responsables de $HOST.",
        ),
    ),
    ("recovery", "es"): _Words(
        subject="Inicio de sesión en $HOST con un enlace recibido por correo",
        title="Se ha usado un enlace del correo para iniciar sesión",
        lead="Alguien ha iniciado sesión en su cuenta de $HOST con un enlace que se le envió a usted.",
        facts=(("Inicio de sesión", "$TIME"), ("Dispositivo", "$DEVICE")),
        advice=(
            "Si ha sido usted, no tiene que hacer nada.",
            "Si no ha sido usted, otra persona puede leer su correo. Cambie primero la contraseña de su buzón. Después "
            "inicie sesión en $HOST, elimine toda llave de acceso que no conozca y avise a los responsables de $HOST.",
        ),
    ),
}


def _text(words: _Words, locale: str) -> str:
    link = ["$LINK"] if words.button else []
    facts = "\n".join(f"{name}: {value}" for name, value in words.facts)
    return "\n\n".join([words.title, words.lead, *link, facts, *words.advice, f"-- \n{FOOTER[locale]}"]) + "\n"


# Styles stand in the elements, because some readers drop the sheet; the sheet only turns the colours in the dark,
# which needs `!important` to win over them.
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="{locale}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{subject}</title>
<style>
:root {{ color-scheme: light dark; supported-color-schemes: light dark; }}
@media (prefers-color-scheme: dark) {{
  .page {{ background: #16181d !important; }}
  .card {{ background: #20232b !important; border-color: #363a44 !important; }}
  .ink {{ color: #e8e6e1 !important; }}
  .soft {{ color: #b4b2ac !important; }}
  .line {{ border-color: #363a44 !important; }}
  .button {{ background: #b899e6 !important; color: #16181d !important; }}
  .link {{ color: #c9b1ee !important; }}
}}
</style>
</head>
<body class="page" style="margin: 0; padding: 0; background: #f4f2ec;">
<div class="page" style="background: #f4f2ec; padding: 32px 16px; font: 16px/1.55 system-ui, -apple-system, \
'Segoe UI', Roboto, Helvetica, Arial, sans-serif;">
<div class="card" style="max-width: 520px; margin: 0 auto; padding: 32px; background: #ffffff; \
border: 1px solid #d9d5cb; border-radius: 10px;">
<h1 class="ink" style="margin: 0 0 16px; font-size: 22px; line-height: 1.3; font-weight: 600; color: #1d2433; \
overflow-wrap: anywhere;">{title}</h1>
<p class="ink" style="margin: 0 0 24px; color: #1d2433; overflow-wrap: anywhere;">{lead}</p>
{link}<table class="line" style="width: 100%; margin: 0 0 24px; border-collapse: collapse; \
border-top: 1px solid #d9d5cb;">
{facts}
</table>
{advice}
</div>
<p class="soft" style="max-width: 520px; margin: 16px auto 0; font-size: 13px; text-align: center; color: #5b5f69; \
overflow-wrap: anywhere;">{footer}</p>
</div>
</body>
</html>
"""
_LINK: Final = """\
<p style="margin: 0 0 24px;"><a class="button" href="$LINK" style="display: inline-block; padding: 12px 28px; \
border-radius: 8px; background: #6b3fa0; color: #ffffff; font-weight: 600; text-decoration: none;">{button}</a></p>
<p class="soft" style="margin: 0 0 24px; font-size: 14px; color: #5b5f69;">{by_hand}<br>
<a class="link" href="$LINK" style="color: #6b3fa0; overflow-wrap: anywhere; word-break: break-all;">$LINK</a></p>
"""
_FACT: Final = """\
<tr>
<th class="soft line" scope="row" style="padding: 8px 16px 8px 0; border-bottom: 1px solid #d9d5cb; text-align: left; \
vertical-align: top; font-size: 14px; font-weight: 400; white-space: nowrap; color: #5b5f69;">{name}</th>
<td class="ink line" style="width: 100%; padding: 8px 0; border-bottom: 1px solid #d9d5cb; text-align: left; \
font-size: 14px; color: #1d2433; overflow-wrap: anywhere;">{value}</td>
</tr>"""
_ADVICE: Final = '<p class="ink" style="margin: {margin}; color: #1d2433; overflow-wrap: anywhere;">{words}</p>'


def _html(words: _Words, locale: str) -> str:
    *earlier, last = words.advice
    advice = [_ADVICE.format(margin="0 0 12px", words=line) for line in earlier]
    return _PAGE.format(
        locale=locale,
        subject=words.subject,
        title=words.title,
        lead=words.lead,
        link=_LINK.format(button=words.button, by_hand=words.by_hand) if words.button else "",
        facts="\n".join(_FACT.format(name=name, value=value) for name, value in words.facts),
        advice="\n".join([*advice, _ADVICE.format(margin="0", words=last)]),
        footer=FOOTER[locale],
    )


def _template(kind: str, locale: str, words: _Words) -> MailTemplate:
    return MailTemplate(
        kind=kind, locale=locale, subject=words.subject, text=_text(words, locale), html=_html(words, locale)
    )


BUILT_IN: Final = tuple(_template(kind, locale, words) for (kind, locale), words in _WORDS.items())
"""One template of every kind in every language."""
