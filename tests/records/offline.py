"""Offline rows for tests."""

from radialbench.records.offline import (
    KernelFigures,
    MaskFigures,
    Offline,
    OfflineHead,
    OfflineRow,
)

HEAD = OfflineHead(suite="small", compiler="triton 3.7.1", sm_count=132, rows=3)

ABSENT = OfflineRow("kernel", "hopper@128x128/d128bf16/sm_80", "needs compute capability 9.0")

KERNEL = OfflineRow(
    "kernel",
    "hopper@128x128/d128bf16/sm_90",
    kernel=KernelFigures(
        registers=168,
        stack_bytes=0,
        spills=0,
        shared_bytes=164_200,
        scratch_bytes=0,
        warps=12,
        instructions=5072,
        wgmma=96,
        tcgen05=0,
        mma=0,
        special=403,
        global_loads=41,
        global_stores=4,
        shared_loads=8,
        shared_stores=23,
        copy_loads=8,
        copy_stores=2,
        barriers=35,
        mbarriers=56,
        code="552f5052d0c2ecdc",
        program="a82025ed4c9473bd",
    ),
)

MASK = OfflineRow(
    "mask",
    "radial/a/h2d8/16x16",
    mask=MaskFigures(
        pairs=450,
        density=0.5,
        attends="2e0515bafa6e7649",
        full=1,
        partial=2,
        block_density=0.75,
        bitmaps=2,
        nbytes=400,
        flops=28_800,
        executed_flops=49_152,
        longest_row=2,
        imbalance=4 / 3,
        makespan=2,
        load_imbalance=44.0,
    ),
)

OFFLINE = Offline(HEAD, (ABSENT, KERNEL, MASK))
