"""vLLM: a folder of JSON files like those of its tuned `fused_moe` kernels.

There `E=8,N=7168,device_name=NVIDIA_H100_80GB_HBM3.json` maps numbers of tokens to configurations,
and the nearest number is used. Here the name has the fields of the model and the mask, and the
number of tokens is the length of the sequence.
"""

import json
from dataclasses import asdict

from radialbench.autotune.export import Chosen, describe_record, file_part
from radialbench.errors import RecordError
from radialbench.records.tuning import TuningKey, TuningRecord

ENTRY = {
    "BLOCK_SIZE_M": "block_m",
    "BLOCK_SIZE_N": "block_n",
    "num_warps": "num_warps",
    "num_stages": "num_stages",
}
"""Fields of a configuration by their names in a file."""

README = """\
Configurations tuned by radialbench, in the way of vLLM's fused_moe/configs.

A file's name says H (heads), D (head_dim), B (batch), frames, text (tokens besides the video's),
mask (its fingerprint), backend, device_name (torch.cuda.get_device_name(), what is no letter, digit
or one of .()@+- as _), dtype, H_kv (heads of k and v) and Q (query tokens) where they are fewer,
and direction where it is not forward. A file maps the tokens of the sequence to a configuration;
take the nearest, as vLLM does:

    configs.pop("triton_version", None)
    config = configs[min(configs, key=lambda tokens: abs(int(tokens) - seq_len))]

BLOCK_SIZE_M and BLOCK_SIZE_N are the blocks to compile the mask's table for. In the direction
backward, dq and dkdv are how their kernels walk: their own tokens, those of a step, warps, stages.
What is not there is left to the kernel.

"""


def render(chosen: Chosen) -> dict[str, str]:
    """Return the files by their names, and a README that describes each entry.

    Raises:
        RecordError: Two records would be one entry.
    """
    files: dict[str, dict[int, TuningRecord]] = {}
    for record in chosen.records:
        entries = files.setdefault(name_of(record.key), {})
        if record.key.seq_len in entries:
            raise RecordError(
                f"two records would be the entry {record.key.seq_len} of {name_of(record.key)}; "
                "export them apart"
            )
        entries[record.key.seq_len] = record
    texts = {name: _file(entries) for name, entries in sorted(files.items())}
    lines = [
        f"{name}, {tokens}: {describe_record(record)}\n"
        for name, entries in sorted(files.items())
        for tokens, record in sorted(entries.items())
    ]
    return {"README": README + "".join(lines)} | texts


def name_of(key: TuningKey) -> str:
    """Return the file name of a key, after vLLM's `get_config_file_name`."""
    fields = {
        "H": key.heads,
        "D": key.head_dim,
        "B": key.batch,
        "frames": key.frames,
        "text": key.seq_len - key.frames * key.tokens_per_frame,
        "mask": file_part(key.mask_fingerprint),
        "backend": file_part(key.backend),
        "device_name": file_part(key.device),
        "dtype": key.dtype,
    }
    if key.kv_heads is not None:
        fields["H_kv"] = key.kv_heads
    if key.q_len is not None:
        fields["Q"] = key.q_len
    if key.direction != "forward":
        fields["direction"] = key.direction
    return ",".join(f"{name}={value}" for name, value in fields.items()) + ".json"


def _file(entries: dict[int, TuningRecord]) -> str:
    versions = {record.versions.get("triton") for record in entries.values()}
    document: dict[str, object] = {}
    if len(versions) == 1 and None not in versions:
        document["triton_version"] = versions.pop()
    for tokens, record in sorted(entries.items()):
        named = {name: getattr(record.config, field) for name, field in ENTRY.items()}
        entry: dict[str, object] = {n: size for n, size in named.items() if size is not None}
        if record.config.gradients is not None:
            entry |= asdict(record.config.gradients)
        document[str(tokens)] = entry
    return json.dumps(document, indent=4) + "\n"
