"""The page behind a magic link, which asks for a click: mail scanners open links, and click nothing."""
