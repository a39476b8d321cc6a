"""The playground: a small customer's backend and its page, for `narthex dev`.

It plays the part that belongs to whoever uses Narthex: it holds the secret key of the demo application, asks for
register tokens, and verifies what the browser brings. Its calls are the real ones, to the real edge, and the page
shows each of them as it went over the line; only the secret is left out. Nothing of it runs in `narthex serve`.
"""
