"""Rebuild recorded masks of published code through the public API: `python -m tests.golden FILE`.

Each kind of case maps to a mask of the library, a grid, parameters and a crop: the rules are in the
library's YAML files.
"""

import base64
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.oracle import token_mask

SCHEMA = "radialbench-golden/1"
ORACLE_TOKENS = 3200
"""Tokens that the oracle compares pair by pair in about a second and a gigabyte."""

Params = Mapping[str, Any]
Outputs = dict[str, Any]
MODELS = {"wan": "wan", "hyvideo": "hunyuan", "cog": "cogvideox"}
"""The models of Sparse VideoGen, by their names in the cases and in the library's presets."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A mask on a grid, in blocks, and the outputs of its table that a case records."""

    spec: MaskSpec
    grid: TokenGrid
    block_m: int
    block_n: int
    outputs: Callable[[BlockTable], Outputs]

    def table(self) -> BlockTable:
        return compile_mask(self.spec, self.grid, self.block_m, self.block_n)


def spec_of(word: str, **params: Any) -> MaskSpec:
    """A mask of the library; rows that published code leaves empty stay empty."""
    return load_mask(word, empty_rows="keep", **params)


def frames_of(
    params: Params, *, text: int = 0, padding: int = 0, text_first: bool = False
) -> TokenGrid:
    """A grid whose frames are one row of tokens, with text or padding beside the video."""
    return TokenGrid(
        frames=params["num_frame"],
        height=1,
        width=params["tokens_per_frame"],
        text_tokens=text + padding,
        text_valid=text,
        text_first=text_first,
    )


def square(spec: MaskSpec, grid: TokenGrid, block: int, *, token: bool = False) -> Rebuilt:
    """Blocks with some pair, blocks with all pairs, and the token mask if `token`."""

    def outputs(table: BlockTable) -> Outputs:
        found = {"any": table.any_blocks(), "full": table.full_blocks(), "pairs": table.pairs}
        return {**found, "token": table.to_dense()} if token else found

    return Rebuilt(spec, grid, block, block, outputs)


def radial_spec(word: str, params: Params) -> MaskSpec:
    """The authors' rule, as blocks or per token, in one of its published variants."""
    variant = {"head": "", "prev": "_prev", "first": "_first"}[params["variant"]]
    return spec_of(
        word,
        preset=params["model_type"] + variant,
        decay=float(params["decay_factor"]),
        block=params["block_size"],
    )


def radial_blocks(params: Params, block_m: int, block_n: int) -> Rebuilt:
    """The authors' block mask, which has whole blocks only: our ragged last one is cut off."""
    block = params["block_size"]
    grid = frames_of(params, padding=params["seq_len"] - params["video_token_num"])
    whole = params["seq_len"] // block * block
    video = params["video_token_num"] // block

    def outputs(table: BlockTable) -> Outputs:
        blocks = table.any_blocks()
        return {
            "block": blocks[: whole // block_m, : whole // block_n],
            "csr_video": blocks[:video, :video],
        }

    return Rebuilt(radial_spec("radial_blocks", params), grid, block_m, block_n, outputs)


def radial(params: Params) -> Rebuilt:
    return radial_blocks(params, params["block_size"], params["block_size"])


def radial_sage(params: Params) -> Rebuilt:
    """The same mask in the block sizes of SpargeAttn's kernels."""
    return radial_blocks(params, *((64, 128) if params["arch"] == "sm90" else (128, 64)))


def radial_token(params: Params) -> Rebuilt:
    """The authors' rule before rounding."""
    spec = radial_spec("radial_published", params)
    return square(spec, frames_of(params), params["block_size"], token=True)


def radial_paper(params: Params) -> Rebuilt:
    """Eq. 4 of the paper."""
    spec = spec_of("radial", sink_frames=int(params["sink"]))
    return square(spec, frames_of(params), params["block_size"], token=True)


def sta_spec(params: Params) -> MaskSpec:
    """Sliding tile attention with the window in tiles."""
    return spec_of(
        "sta",
        **{f"tile_{side}": size for side, size in zip("thw", params["tile"], strict=True)},
        **{f"window_{side}": size for side, size in zip("thw", params["window"], strict=True)},
        exact_even=params["convention"] == "attention-gym",
    )


def sta_tile(params: Params) -> Rebuilt:
    """One block a tile."""
    volume = int(np.prod(params["tile"]))
    grid = TokenGrid(*params["canvas"])
    return Rebuilt(sta_spec(params), grid, volume, volume, lambda t: {"tile": t.full_blocks()})


def sta_block(params: Params) -> Rebuilt:
    """Blocks of another size than the tiles, with text behind the video."""
    grid = replace(
        TokenGrid(*params["canvas"]),
        text_tokens=params["text_max"],
        text_valid=params["text_length"],
    )
    return square(sta_spec(params), grid, params["block_size"])


def sta_perm(params: Params) -> Outputs:
    """The order of tokens in tiles."""
    spec = sta_spec({"window": (1, 1, 1), "convention": "fastvideo", **params})
    grid = TokenGrid(*params["canvas"])
    return {"source_index": spec.order_on(grid).source_index(grid)}


def svg_width(params: Params) -> Outputs:
    """The band's half-width in frames."""
    spec = spec_of("svg_spatial", density=float(params["sparsity_arg"]))
    grid = frames_of(params, text=params["context_length"])
    return {"width_frames": spec.value("band_frames", grid)}


def svg_flex(params: Params) -> Rebuilt:
    """The band mask of each model."""
    text, real = params["context_length"], params["prompt_length"]
    spec = spec_of(
        "svg_spatial",
        preset=MODELS[params["model"]],
        density=float(params["sparsity_arg"]),
        width_frames=float(params["width_frames"]),
    )
    if "attn_sink" in params:
        spec = spec.with_params(sink_frames=int(params["attn_sink"]))
    first = params["model"] == "cog"
    grid = frames_of(params, text=real, padding=text - real, text_first=first)
    return square(spec, grid, params["block_size"])


def svg_bsr(params: Params) -> Rebuilt:
    """The block mask of the FlashInfer path."""
    grid = frames_of(params)
    spec = spec_of("svg_blocks", width_frames=float(params["multiplier"]))
    block = int(spec.value("block", grid))

    def outputs(table: BlockTable) -> Outputs:
        return {"block": table.any_blocks(), "block_size": [block, block]}

    return Rebuilt(spec, grid, block, block, outputs)


def svg_profile(params: Params) -> Rebuilt:
    """The masks that decide which kind a head is."""
    spec = spec_of("svg_profile", preset=f"{MODELS[params['model']]}_{params['head']}")
    grid = frames_of(params, text=params["context_length"], text_first=params["model"] == "cog")
    rows = params["sample_mse_max_row"]
    return Rebuilt(spec, grid, 128, 128, lambda table: {"token": table.to_dense()[:rows]})


def svg_perm(params: Params) -> Outputs:
    """The order of temporal heads."""
    grid = frames_of(params, text=params["context_length"], text_first=not params["text_last"])
    return {"source_index": load_mask("svg_temporal").order_on(grid).source_index(grid)}


def natten2d(params: Params) -> Rebuilt:
    """attention-gym's two-dimensional neighbourhood."""
    spec = spec_of("neighborhood_gym", kernel_w=params["kernel_w"], kernel_h=params["kernel_h"])
    grid = TokenGrid(1, params["canvas_h"], params["canvas_w"])
    return square(spec, grid, params["block_size"])


def block_causal(params: Params) -> Rebuilt:
    """Chunk-wise causal video, padded at the end."""
    spec = spec_of(
        "block_causal",
        chunk=params["num_frame_per_block"],
        local_frames=params["local_attn_size"],
    )
    video = params["num_frame"] * params["tokens_per_frame"]
    grid = frames_of(params, padding=params["seq_len"] - video)
    return square(spec, grid, params["block_size"])


KINDS: dict[str, Callable[[Params], Rebuilt | Outputs]] = {
    "radial": radial,
    "radial_sage": radial_sage,
    "radial_token": radial_token,
    "radial_paper": radial_paper,
    "sta_tile": sta_tile,
    "sta_block": sta_block,
    "sta_perm": sta_perm,
    "svg_width": svg_width,
    "svg_flex": svg_flex,
    "svg_bsr": svg_bsr,
    "svg_profile": svg_profile,
    "svg_perm": svg_perm,
    "natten2d": natten2d,
    "block_causal": block_causal,
}


def differences(case: Mapping[str, Any]) -> list[str]:
    """Rebuild one case; returns what differs from the record, nothing if all is equal."""
    if case["kind"] not in KINDS:
        return [f"unknown kind {case['kind']!r}"]
    rebuilt = KINDS[case["kind"]](case["params"])
    if case.get("expect") == "reference_error":
        assert isinstance(rebuilt, Rebuilt)
        return [] if passes_oracle(rebuilt) else ["differs from its own oracle"]
    outputs = rebuilt.outputs(rebuilt.table()) if isinstance(rebuilt, Rebuilt) else rebuilt
    expected = dict(case["outputs"])
    if "csr_video" in case:
        expected["csr_video"] = case["csr_video"]
    if "pairs" in outputs and "token_nnz" in case.get("stats", {}):
        expected["pairs"] = case["stats"]["token_nnz"]
    return [
        f"{name}: {problem}"
        for name, recorded in expected.items()
        if (problem := difference(outputs.get(name), recorded))
    ]


def passes_oracle(rebuilt: Rebuilt) -> bool:
    """Where the original raises: our table equals the pair by pair mask.

    The oracle judges all of a small case. Of a large one, whose token mask has billions of pairs,
    the whole has to compile, and the oracle judges the same rule on the first frames.
    """
    rebuilt.table()
    frames = min(rebuilt.grid.frames, max(1, ORACLE_TOKENS // rebuilt.grid.frame_tokens))
    few = replace(rebuilt, grid=replace(rebuilt.grid, frames=frames))
    return bool(np.array_equal(few.table().to_dense(), token_mask(few.spec, few.grid)))


def difference(got: Any, expected: Any) -> str:
    """Describe how an output differs from its record; empty if it does not."""
    if got is None:
        return "not made"
    if not isinstance(expected, dict):
        same = got == expected if isinstance(expected, list) else abs(got - expected) <= 1e-9
        return "" if same else f"{got} instead of {expected}"
    if "sha256_i64" in expected:
        return "" if sha256(got, "<i8") == expected["sha256_i64"] else "another order"
    if "indptr_sha256" in expected:
        indptr = np.concatenate([[0], got.sum(axis=1).cumsum()])
        digests = sha256(indptr, "<i4"), sha256(np.nonzero(got)[1], "<i4")
        same = digests == (expected["indptr_sha256"], expected["indices_sha256"])
        return "" if same else "other rows or columns"
    return mask_difference(got, expected)


def sha256(array: Any, kind: str) -> str:
    """Hash the bytes of an array of a kind of number."""
    return hashlib.sha256(np.asarray(array, kind).tobytes()).hexdigest()


def mask_difference(got: NDArray[np.bool_], expected: Mapping[str, Any]) -> str:
    """Compare a mask with its recorded shape, number of pairs, hash and bits."""
    if list(got.shape) != expected["shape"]:
        return f"shape {list(got.shape)} instead of {expected['shape']}"
    packed = np.packbits(got.ravel())
    if "bits" in expected:
        recorded = base64.b64decode(expected["bits"]["data"])
        if expected["bits"]["enc"] == "zlib+b64":
            recorded = zlib.decompress(recorded)
        theirs = np.unpackbits(np.frombuffer(recorded, np.uint8), count=got.size)
        wrong = int((theirs.reshape(got.shape) != got).sum())
        if wrong:
            return f"{wrong} entries differ"
    if int(got.sum()) != expected["nnz"]:
        return f"{int(got.sum())} entries instead of {expected['nnz']}"
    return "" if sha256(packed, "u1") == expected["sha256"] else "another hash"


def read_cases(path: str) -> list[Any]:
    """Read the cases of a file.

    Raises:
        ValueError: The file cannot be read or is not one of this schema.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: not a JSON file") from None
    known = isinstance(document, dict) and document.get("schema") == SCHEMA
    if not known or not isinstance(document.get("cases"), list):
        raise ValueError(f"{path}: not a file of schema {SCHEMA} with cases")
    cases: list[Any] = document["cases"]
    return cases


def main(arguments: list[str]) -> int:
    """Rebuild every case of a file; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m tests.golden FILE")
        return 2
    try:
        cases = read_cases(arguments[0])
    except ValueError as error:
        print(error)
        return 2
    wrong = 0
    for place, case in enumerate(cases):
        try:
            found = differences(case)
        except Exception as error:  # A case that cannot be rebuilt is a difference, too.
            found = [f"{type(error).__name__}: {error}"]
        if found:
            wrong += 1
            name = case.get("id") if isinstance(case, dict) else None
            print(f"{name or f'case {place + 1}'}: {'; '.join(found)}")
    print(f"matched {len(cases) - wrong} of {len(cases)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
