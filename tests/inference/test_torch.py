"""Torch itself, where it is installed (it is no dependency of the tests): modules and TorchScript on every way.

`make test-long` runs it in an environment to which somebody has added torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_py as bp
from bioimage_py.inference import TorchModel, predict

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")
pytestmark = [
    pytest.mark.long,
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning"),
]

VALUES = np.random.default_rng(0).random((20, 24, 28), dtype=np.float32)
TILES: dict[str, Any] = {"tile": 16, "overlap": 4, "margin": 1, "block_shape": 12, "num_workers": 2, "progress": False}


def network(dtype: Any = None) -> Any:
    """A convolution that sees a voxel to each side, and a layer that is another one while it learns."""
    torch.manual_seed(0)
    layers = torch.nn.Conv3d(1, 1, 3, padding=1), torch.nn.Dropout(0.5), torch.nn.Sigmoid()
    return torch.nn.Sequential(*layers).to(dtype or torch.float32)


def expected(module: Any) -> np.ndarray:
    with torch.inference_mode():
        whole = torch.from_numpy(VALUES)[None, None].to(next(module.parameters()).dtype)
        found: np.ndarray = module.eval()(whole)[0, 0].float().numpy()
    module.train()
    return found


@pytest.mark.parametrize("kind", ["module", "script", "trace", "pickled"])
@pytest.mark.parametrize("job_type", ["local", "subprocess"])
def test_tiles_are_the_whole(tmp_path: Path, kind: str, job_type: Any) -> None:
    module = network()
    whole = expected(module)
    model: Any = module
    if kind == "script":
        torch.jit.script(module.eval()).save(model := tmp_path / "net.pt")
    elif kind == "trace":
        torch.jit.trace(module.eval(), torch.zeros(1, 1, 16, 16, 16)).save(model := tmp_path / "net.pt")
    elif kind == "pickled":
        torch.save(module, tmp_path / "net.pth")
        model = TorchModel(tmp_path / "net.pth", trusted=True)
    bp.copy(VALUES, tmp_path / "a.zarr/raw", chunks=(12,) * 3, progress=False, job_type="local")
    raw = bp.open_source(tmp_path / "a.zarr/raw")
    found = predict(raw, model, tmp_path / "a.zarr/out", job_type=job_type, **TILES)
    np.testing.assert_allclose(found[...], whole, atol=1e-5)


def test_a_module_goes_on_learning() -> None:
    module = network()
    predict(VALUES, module, **TILES)
    assert all(each.training for each in module.modules())
    assert all(each.requires_grad for each in module.parameters())


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_module_gets_the_type_of_its_weights(dtype: str) -> None:
    module = network(getattr(torch, dtype))
    np.testing.assert_allclose(predict(VALUES, module, **TILES), expected(module), atol=1e-2)
