"""Time `radialbench --help` and `import radialbench` in new processes.

    python benchmarks/startup.py

Exits with 1 when the median of `--help` is 0.3 s or more.
"""

import subprocess
import sys
from statistics import median
from time import perf_counter

TARGET_SECONDS = 0.3
RUNS = 11

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import radialbench": ["-c", "import radialbench"],
    "radialbench --help": ["-m", "radialbench", "--help"],
}


def seconds(arguments: list[str]) -> list[float]:
    """Time a Python process a number of times."""
    samples = []
    for _ in range(RUNS):
        start = perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        samples.append(perf_counter() - start)
    return samples


def main() -> int:
    """Print the medians and compare the last with its target."""
    middle = 0.0
    for title, arguments in COMMANDS.items():
        samples = seconds(arguments)
        middle = median(samples)
        print(f"{title:<20} {middle:.3f} s  (median of {RUNS}, worst {max(samples):.3f} s)")
    return int(middle >= TARGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
