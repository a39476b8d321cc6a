"""Web Authentication, Level 3: evidence in, facts out.

The room is pure and liftable. It opens nothing, reads no clock and draws no lots: the challenge, the instant and
the trust anchors are given. What was signed keeps the bytes it arrived in; nothing is re-encoded to be checked.
Whatever bytes arrive, a function here answers with a value or with one of the refusals in ``errors``.

Reading order: ``registration`` and ``authentication`` are the two ceremonies, as lists of short checks in the
order of the specification; ``ceremony`` holds the checks they share; the rest parses.
"""
