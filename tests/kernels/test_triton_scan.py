"""The GPU's recursion equals the loop, on a GPU or in Triton's interpreter."""

import importlib
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from todm.kernels import pruning, transducer

pytest.importorskip("triton", reason="triton is not installed (it comes with CUDA builds of torch)")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")  # read when the kernel is defined
    sys.modules.pop("todm.kernels.triton.scan", None)
    return importlib.import_module("todm.kernels.triton.scan")


def edges(*shape: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    drawn = torch.randn(shape, generator=g)
    return drawn.masked_fill(torch.rand(shape, generator=g) < 0.3, float("-inf"))


@pytest.mark.parametrize(("rows", "lattices", "columns"), [(7, 3, 5), (20, 2, 33), (3, 1, 1)])
def test_full_lattices(scan: ModuleType, rows: int, lattices: int, columns: int) -> None:
    edges_NKPC, start_PC = edges(rows, 2, lattices, columns + 1), edges(lattices, columns + 1)
    edges_NKPC[..., 0] = float("-inf")  # the wall
    edges_NKPC[:, 1, :, -1] = start_PC[:, 0] = float("-inf")
    want = transducer._scan(edges_NKPC, start_PC)
    given = edges_NKPC.to(DEVICE), start_PC.to(DEVICE)
    found = scan.lattice_scan(*given, columns_last=True, wraps=False)
    torch.testing.assert_close(found.cpu(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "slots", "lattices"), [(9, 5, 4), (30, 3, 2), (4, 2, 1)])
def test_kept_nodes(scan: ModuleType, rows: int, slots: int, lattices: int) -> None:
    edges_NKSP, start_SP = edges(rows, 2, slots, lattices), edges(slots, lattices)
    want = pruning._scan(edges_NKSP, start_SP)
    given = edges_NKSP.to(DEVICE), start_SP.to(DEVICE)
    found = scan.lattice_scan(*given, columns_last=False, wraps=True)
    torch.testing.assert_close(found.cpu(), want, rtol=1e-5, atol=1e-5)
