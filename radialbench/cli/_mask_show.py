"""Masks on a terminal: pictures as text, with what they show."""

from typing import TYPE_CHECKING, Any

from radialbench.cli._options import Scene

if TYPE_CHECKING:
    from radialbench.maskgen.spec import MaskSpec
    from radialbench.maskgen.table import BlockTable

WIDEST = 66
"""Columns of a picture; its lines are half as many."""


def show_mask(
    spec: "MaskSpec", table: "BlockTable", where: Scene, title: str, facts: dict[str, Any]
) -> None:
    """Draw a mask and tell its facts, which hold `table` and `parts`."""
    from radialbench.cli._console import console
    from radialbench.cli._mask_facts import cost_lines, first_sentence, part_lines
    from radialbench.maskgen.picture import density_image, picture_side, terminal_picture

    side = picture_side(where.grid, picture_room())
    console.print(title, style="bold", markup=False, highlight=False)
    paper = f"[{spec.paper}]" if spec.paper else ""
    for words in filter(None, (first_sentence(spec.about), paper)):
        console.print(_encoded(words), markup=False, highlight=False)
    say(where.title)
    say(_framed(terminal_picture(density_image(table, side, side), plain=not _unicode())))
    say(_scale(where, side, str(table.order)))
    lines = [*cost_lines(facts["table"], where), *part_lines(spec, facts["parts"])]
    width = max(len(word) for word, _ in lines)
    for word, line in lines:
        say(f"{word:<{width}}  {line}")
    console.print()


def show_difference(pairs: Any, names: tuple[str, str], where: Scene, order: object) -> None:
    """Draw and count pairs, [3, side, side]: only in A, only in B, in both."""
    from rich.text import Text

    from radialbench.cli._console import console
    from radialbench.maskgen.picture import percent, terminal_difference

    say(where.title)
    picture = Text(_encoded(_framed(terminal_difference(pairs))))
    picture.highlight_regex("[aA]", "yellow")
    picture.highlight_regex("[bB]", "cyan")
    picture.highlight_regex("[xX]", "magenta")
    console.print(picture, soft_wrap=True)
    say(_scale(where, pairs.shape[1], str(order)))
    say("A, B: kept by one mask only; X: by either; a, b, x: less than what both keep; ·: by both")
    every = where.grid.seq_len**2
    counts = [int(count) for count in pairs.sum(axis=(1, 2))]
    words = (f"only in A, {names[0]}", f"only in B, {names[1]}", "in both", "in neither")
    for word, count in zip(words, (*counts, every - sum(counts)), strict=True):
        say(f"{count:>19,}  {percent(count / every):>12}  {word}")


def _scale(where: Scene, side: int, order: str) -> str:
    frame = where.grid.frame_tokens * side / where.grid.seq_len
    return (
        f"queries down, keys across, in {order} order; a cell has {where.grid.seq_len / side:.6g} "
        f"tokens a side, a frame {frame:.3g} cells"
    )


def _framed(picture: str) -> str:
    lines = picture.split("\n")
    width = len(lines[0])
    top, side, bottom = ("┌{}┐", "│{}│", "└{}┘") if _unicode() else ("+{}+", "|{}|", "+{}+")
    rule = "─" if _unicode() else "-"
    return "\n".join(
        [top.format(rule * width), *map(side.format, lines), bottom.format(rule * width)]
    )


def picture_room() -> int:
    """Tell how many columns a picture may have."""
    from radialbench.cli._console import console

    return max(8, min(WIDEST, console.width - 2))


def _unicode() -> bool:
    from radialbench.cli._console import console

    return console.encoding.lower().startswith("utf")


def _encoded(text: str) -> str:
    from radialbench.cli._console import console

    return text.encode(console.encoding, "replace").decode(console.encoding)


def say(line: str) -> None:
    """Print text as it stands; what the terminal cannot write becomes a question mark."""
    from radialbench.cli._console import console

    console.print(_encoded(line), markup=False, highlight=False, soft_wrap=True)
