"""Fuzz the loaders of files: with atheris, which follows coverage, or else by mutation.

    python -m fuzz.run                          # all targets, a minute each
    python -m fuzz.run mask table --seconds 600

What fails is written to fuzz/found/TARGET/, which the tests run from then on; the exit code is 1.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

FOUND = Path(__file__).parent / "found"
MOST_BYTES = 1 << 16
SLOW_S = 25
"""An input that takes longer is a finding, too."""


def mutated(data: bytes, words: tuple[bytes, ...], dice: random.Random) -> bytes:
    """Change bytes in one to four places: characters, words, numbers, lines, lengths."""
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(data) + 1)
        stop = min(len(data), start + dice.choice((0, 1, 1, 4, 16, 200)))
        match dice.randrange(6):
            case 0:
                data = data[:start] + dice.randbytes(dice.choice((1, 2, 8))) + data[stop:]
            case 1:
                data = data[:start] + data[stop:]
            case 2:
                data = data[:start] + dice.choice(words) + data[stop:]
            case 3:
                data = data[:stop] + data[start:]
            case 4:
                data = data[:start]
            case _:
                other = dice.randrange(len(data) + 1)
                data = data[:start] + data[other : other + dice.choice((4, 40))] + data[stop:]
    return data[:MOST_BYTES]


def by_mutation(name: str, seconds: float, seed: int) -> bytes | None:
    """Run a target on changed seeds until it fails or the time is over; return what fails."""
    from fuzz.targets import TARGETS, VALUES

    target, dice, count = TARGETS[name], random.Random(seed), 0
    seeds = target.seeds()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(dice.choice(seeds), (*VALUES, *target.words), dice)
        begun = time.monotonic()
        try:
            target.run(data)
        except Exception:
            traceback.print_exc()
            return data
        if time.monotonic() - begun > SLOW_S:
            print(f"{name}: {time.monotonic() - begun:.0f} s")
            return data
        count += 1
    print(f"{name}: {count:,} inputs, none fails")
    return None


def by_coverage(name: str, seconds: float, seed: int) -> bytes | None:
    """The same with atheris, in a process of its own; what it learns is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        command = [sys.executable, "-m", "fuzz.guided", name, str(corpus)]
        options = {"max_total_time": round(seconds), "seed": seed, "max_len": MOST_BYTES}
        options |= {"timeout": SLOW_S, "rss_limit_mb": 4096, "print_final_stats": 1, "verbosity": 1}
        words = [f"-{option}={value}" for option, value in options.items()]
        words.append(f"-artifact_prefix={folder}/crash-")
        done = subprocess.run(
            [*command, *words],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        crashes = sorted(Path(folder).glob("crash-*"))
        lines = done.stdout.splitlines()
        if crashes:
            print("\n".join(lines[-60:]))
            return crashes[0].read_bytes()
        if done.returncode:
            raise SystemExit(f"{name}: atheris ended with {done.returncode}\n{done.stdout[-4000:]}")
        units = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
        grown = len(list(corpus.iterdir()))
        print(f"{name}: {int(units[0]):,} inputs, none fails; {grown:,} reach something new")
    return None


def main() -> int:
    """Fuzz the chosen targets, one after the other."""
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description="Fuzz the loaders of files.")
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)} (all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in TARGETS]:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    fuzz = by_coverage if find_spec("atheris") else by_mutation
    failed = False
    for name in options.names or TARGETS:
        data = fuzz(name, options.seconds, options.seed)
        if data is not None:
            failed = True
            path = FOUND / name / hashlib.sha256(data).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{name}: fails on {path}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
