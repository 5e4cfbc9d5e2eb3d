"""One target under atheris: `python -m fuzz.guided TARGET CORPUS -OPTION=VALUE …`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["radialbench", "yaml", "fuzz.targets"]):
    from fuzz.targets import TARGETS, VALUES

if __name__ == "__main__":
    name, corpus, *options = sys.argv[1:]
    target, folder = TARGETS[name], Path(corpus)
    for place, seed in enumerate(target.seeds()):
        (folder / f"seed{place}").write_bytes(seed)
    words = folder.parent / "words"
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
            for word in (*VALUES, *target.words)
            if len(word) < 60
        )
    )
    atheris.Setup([sys.argv[0], corpus, f"-dict={words}", *options], target.run)
    atheris.Fuzz()
