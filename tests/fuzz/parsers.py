"""Fuzz the parsers with atheris, which is guided by the branches that an input takes.

Each target has a process of its own, because atheris writes its counters into our modules while they are imported and
never returns. A crash leaves its input under ``build/fuzz/crashes``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree

WORK = Path("build/fuzz")
CRASHES = WORK / "crashes"
LONGEST_INPUT = 8192
SLOWEST_INPUT_S = 10


def has_atheris() -> bool:
    return find_spec("atheris") is not None


def fuzz(names: Sequence[str], *, seconds: int, jobs: int) -> dict[str, str]:
    """Fuzz these targets: what went wrong, by name."""
    CRASHES.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-timeout={SLOWEST_INPUT_S}"]
    with ThreadPoolExecutor(jobs) as pool:
        outputs = pool.map(lambda name: _run(name, [*limits, f"-artifact_prefix={CRASHES}/{name}-"]), names)
        return {name: output for name, output in zip(names, outputs, strict=True) if output}


def minimised(name: str) -> Path:
    """A folder with the fewest inputs that take all branches that the working corpus takes."""
    folder = WORK / "minimised" / name
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    problem = _run(name, ["-merge=1", str(folder)])
    if problem:
        raise RuntimeError(problem)
    return folder


def _run(name: str, arguments: list[str]) -> str:
    command = [sys.executable, "-m", "tests.fuzz", "target", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return "" if done.returncode == 0 else _shortened(done.stdout + done.stderr)


def _shortened(output: str) -> str:
    """From the exception on; what stands before are the fuzzer's statistics."""
    _, found, crash = output.partition("=== Uncaught Python exception: ===")
    lines = [line for line in (found + crash if found else output[-4000:]).splitlines() if "INFO: " not in line]
    return "\n".join(lines)


def run_target(name: str, arguments: list[str]) -> None:
    """Be the process of one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["narthex"]):
        from tests.fuzz.corpus import pour_corpus
        from tests.fuzz.targets import run

    folder = WORK / name
    pour_corpus(name, folder)
    # To minimise, the fuzzer runs itself again through a shell, by the first of these words.
    itself = f"{sys.executable} -m tests.fuzz target {name}"
    atheris.Setup([itself, *arguments, str(folder)], lambda raw: _look(run(name, raw)))
    atheris.Fuzz()


def _look(accepted: bool) -> None:
    """The fuzzer wants no answer."""
