"""``make fuzz``: minutes of ceremonies judged by three, and of bytes for every parser.

python -m tests.fuzz                           all of it
python -m tests.fuzz ceremonies --count 1000   ceremonies alone
python -m tests.fuzz again 1:42                one of them, in full
python -m tests.fuzz parsers cbor jws          some parsers
python -m tests.fuzz keep                      minimise what was found into the kept corpus
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from time import monotonic

from tests.fuzz import parsers

CEREMONIES = 100_000
SECONDS_FOR_EACH_PARSER = 60


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    if sys.argv[1:2] == ["target"]:
        parsers.run_target(sys.argv[2], sys.argv[3:])
    options = _options()
    if options.what == "again":
        from tests.fuzz.differential import again

        say(again(options.names[0]))
        return 0
    if options.what == "keep":
        return _keep(options)
    failed = False
    if options.what in ("all", "ceremonies"):
        failed |= _judge_ceremonies(options)
    if options.what in ("all", "parsers"):
        failed |= _fuzz_parsers(options)
    return int(failed)


def _options() -> Namespace:
    options = ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("what", nargs="?", default="all", choices=["all", "ceremonies", "again", "parsers", "keep"])
    options.add_argument("names", nargs="*", help="targets, or the ceremony to make again; all targets by default")
    options.add_argument("--seed", default=os.urandom(4).hex(), help="another each time by default")
    options.add_argument("--count", type=int, default=CEREMONIES)
    options.add_argument("--seconds", type=int, default=SECONDS_FOR_EACH_PARSER, help="for each parser")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return options.parse_args()


def _judge_ceremonies(options: Namespace) -> bool:
    from tests.fuzz.differential import run, table

    say(f"ceremonies: {options.count} of seed {options.seed}")
    start = monotonic()
    tally = run(options.seed, options.count, jobs=options.jobs)
    say(table(tally))
    for finding in tally.unexplained:
        say(f"\nNOT EXPLAINED\n{finding}")
    minutes = (monotonic() - start) / 60
    say(f"ceremonies: {minutes:.1f} minutes, {len(tally.unexplained)} not explained")
    return bool(tally.unexplained)


def _fuzz_parsers(options: Namespace) -> bool:
    if not parsers.has_atheris():
        say("parsers: atheris has no wheel for this Python, so they are not fuzzed here; the tests replay the corpus")
        return False
    from tests.fuzz.targets import TARGETS

    names = options.names or list(TARGETS)
    minutes = len(names) * options.seconds / 60 / options.jobs
    say(f"parsers: {len(names)}, {options.seconds} seconds each, some {minutes:.0f} minutes")
    failures = parsers.fuzz(names, seconds=options.seconds, jobs=options.jobs)
    for name, output in failures.items():
        say(f"\nCRASH in {name}; its input is under {parsers.CRASHES}\n{output}")
    say(f"parsers: {len(failures)} of {len(names)} crashed")
    return bool(failures)


def _keep(options: Namespace) -> int:
    from tests.fuzz.corpus import keep_corpus, read_corpus
    from tests.fuzz.targets import TARGETS

    for name in options.names or TARGETS:
        keep_corpus(name, parsers.minimised(name))
        say(f"{name}: {len(read_corpus(name))} inputs kept")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
