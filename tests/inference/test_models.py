"""Models: what is taken from disk, what workers share of it, and what is refused before the first block."""

from __future__ import annotations

import contextlib
import pickle
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from bioimage_py.errors import (
    AccessError,
    AliasError,
    BioimageError,
    ConfigError,
    DtypeError,
    FormatError,
    MissingDependencyError,
    ParameterError,
    RunnerError,
    ShapeError,
    SourceNotFoundError,
    StorageError,
)
from bioimage_py.inference import OnnxModel, Percentiles, TorchModel, predict
from bioimage_py.inference.devices import Devices, PerDevice
from bioimage_py.inference.models import OnnxFile
from bioimage_py.inference.onnx_files import digest_of, files_of
from bioimage_py.system.worker import enter_worker, worker_number

from .networks import network, whole

VALUES = np.random.default_rng(0).random((20, 24), np.float32)


def same(batch: np.ndarray) -> np.ndarray:
    return batch


# -- functions, setup, devices -----------------------------------------------------------------------------------------


def test_setup_is_called_once_a_process() -> None:
    calls: list[int] = []

    def setup() -> int:
        calls.append(1)
        return 3

    def model(batch: np.ndarray, context: int) -> np.ndarray:
        return batch * context

    found = predict(VALUES, model, tile=8, setup=setup, num_workers=3, block_shape=8, progress=False)
    np.testing.assert_allclose(found, VALUES * 3, rtol=1e-6)
    assert len(calls) == 1


def test_devices_are_dealt_out_and_opened_once_each() -> None:
    opened: list[str] = []
    used: set[str] = set()
    both = threading.Barrier(2, timeout=60)

    def setup(device: str) -> str:
        opened.append(device)
        return device

    def model(batch: np.ndarray, context: str) -> np.ndarray:
        if context not in used:
            used.add(context)
            both.wait()
        return batch

    names = ["cuda:3", "cuda:5"]
    predict(VALUES, model, tile=8, setup=setup, devices=names, num_workers=2, block_shape=8, progress=False)
    assert sorted(opened) == names
    assert used == set(names)


def test_devices_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(number: int, devices: Any) -> str:
        found: list[str] = []

        def run() -> None:
            enter_worker(f"s1w{number}")
            assert worker_number() == number
            found.append(Devices.of(devices).mine())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found[0]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,GPU-8")
    assert [of(n, "cuda") for n in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert [of(n, ["cuda:1", "cpu"]) for n in range(3)] == ["cuda:1", "cpu", "cuda:1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")  # as a scheduler gives a job its own
    assert [of(n, "cuda") for n in range(2)] == ["cuda:0", "cuda:0"]
    assert of(5, None) == "cpu"
    assert worker_number() == 0
    for wrong in ([], 3, ["cuda:x"], [1], "cuda 1"):
        with pytest.raises(ParameterError):
            Devices.of(wrong)


def test_what_cannot_be_opened_is_tried_again() -> None:
    tries: list[str] = []

    def make(device: str) -> str:
        tries.append(device)
        if len(tries) == 1:
            raise OSError("busy")
        return device

    shared = PerDevice(Devices(), make)
    with pytest.raises(OSError, match="busy"):
        shared.mine()
    assert shared.mine() == shared.mine() == "cpu"
    assert tries == ["cpu", "cpu"]


# -- ONNX --------------------------------------------------------------------------------------------------------------


def test_fixed_shapes_of_a_file_are_taken_over(tmp_path: Path) -> None:
    fixed = network(tmp_path / "fixed.onnx", 2, tile=(12, 10), batch=2)
    values = np.random.default_rng(0).random((20, 24), np.float32)
    found = predict(values, fixed, overlap=5, margin=2)
    np.testing.assert_array_equal(found, predict(values, fixed, overlap=5, margin=2, batch=2))
    np.testing.assert_allclose(found, whole(values[None])[0], atol=2e-6)
    for wrong, error in (
        ({"batch": 1}, ParameterError),
        ({"batch": 2, "tile": 12}, ParameterError),
        ({"batch": 2, "channels": 3}, ParameterError),
        ({"batch": 2, "axes": 1}, ShapeError),
        ({"batch": 2, "channel_axis": 0}, ShapeError),
    ):
        with pytest.raises(error):
            predict(values, fixed, **wrong)


def test_half_and_double_precision_files(tmp_path: Path) -> None:
    for kind, name in ((onnx.TensorProto.FLOAT16, "float16"), (onnx.TensorProto.DOUBLE, "float64")):
        info = [helper.make_tensor_value_info(one, kind, ["n", 1, "x"]) for one in ("raw", "out")]
        graph = helper.make_graph([helper.make_node("Add", ["raw", "raw"], ["out"])], "g", info[:1], info[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
        np.testing.assert_array_equal(predict(np.arange(9.0), tmp_path / f"{name}.onnx", tile=4), np.arange(9) * 2)


def two_outputs(path: Path, entries: int = 1, kind: int = onnx.TensorProto.FLOAT) -> Path:
    names = [f"in{n}" for n in range(entries)]
    infos = [helper.make_tensor_value_info(name, kind, ["n", 1, "x"]) for name in (*names, "twice", "same")]
    nodes = [helper.make_node("Add", [names[0], names[-1]], ["twice"]), helper.make_node("Identity", ["in0"], ["same"])]
    graph = helper.make_graph(nodes, "g", infos[:entries], infos[entries:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_an_output_is_chosen_by_name(tmp_path: Path) -> None:
    path = two_outputs(tmp_path / "two.onnx")
    values = np.arange(9.0)
    assert predict(values, path, tile=4).tolist() == (values * 2).tolist()
    assert predict(values, OnnxModel(path, output="same", threads=2), tile=4).tolist() == values.tolist()
    with pytest.raises(ParameterError, match="twice"):
        predict(values, OnnxModel(path, output="other"), tile=4)
    with pytest.raises(FormatError, match="in1"):
        predict(values, two_outputs(tmp_path / "three.onnx", 2), tile=4)
    with pytest.raises(DtypeError, match="int64"):
        predict(values, two_outputs(tmp_path / "whole.onnx", 1, onnx.TensorProto.INT64), tile=4)


def with_weights(path: Path, location: str = "weights.bin") -> Path:
    network(path, 2)
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        assert uses_external_data(tensor)
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_a_part_of_it(tmp_path: Path) -> None:
    path = with_weights(tmp_path / "net.onnx")
    assert files_of(path) == [path, (tmp_path / "weights.bin").resolve()]
    found = predict(VALUES, path, tile=12, overlap=5, margin=2)
    np.testing.assert_allclose(found, whole(VALUES[None])[0], atol=2e-6)
    before = digest_of(files_of(path))
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[3] ^= 1
    (tmp_path / "weights.bin").write_bytes(bytes(data))
    assert digest_of(files_of(path)) != before


@pytest.mark.parametrize(
    "location", ["../weights.bin", "{root}/weights.bin", "link.bin", "sub/../../weights.bin", "a\\b"]
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "weights.bin").write_bytes(bytes(4000))
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = with_weights(tmp_path / "model" / "net.onnx", location.format(root=tmp_path))
    with pytest.raises(AccessError, match="not in its folder"):
        predict(VALUES, path, tile=12)


def test_weights_in_every_place_of_a_file_are_found(tmp_path: Path) -> None:
    def tensor(name: str) -> onnx.TensorProto:
        found = numpy_helper.from_array(np.zeros(3, np.float32), name)
        found.ClearField("raw_data")
        found.data_location = onnx.TensorProto.EXTERNAL
        found.external_data.add(key="location", value=f"../{name}")
        return found

    inner = helper.make_graph([], "inner", [], [], [tensor("inner")])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("attribute")),
        helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner),
    ]
    nodes[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(tensor("many"))
    nodes[0].attribute.add(name="graphs", type=onnx.AttributeProto.GRAPHS).graphs.append(
        helper.make_graph([], "deep", [], [], [tensor("deep")])
    )
    nodes[0].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.values.CopyFrom(
        tensor("sparse")
    )
    graph = helper.make_graph(nodes, "g", [], [], [tensor("initializer")])
    graph.sparse_initializer.add().indices.CopyFrom(tensor("indices"))
    model = helper.make_model(graph)
    model.functions.add(name="f").node.append(helper.make_node("Constant", [], ["x"], value=tensor("function")))
    model.training_info.add().algorithm.initializer.append(tensor("training"))
    from bioimage_py.inference.onnx_files import _locations

    found = {name.removeprefix("../") for name in _locations(memoryview(model.SerializeToString()), "model", 0)}
    assert found == {
        *("inner", "attribute", "many", "deep", "sparse", "initializer", "indices", "function", "training"),
    }


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole_file = network(tmp_path / "net.onnx", 2).read_bytes()
    broken = tmp_path / "broken.onnx"
    rng = np.random.default_rng(0)
    for cut in (0, 1, 20, len(whole_file) // 2, len(whole_file) - 3):
        broken.write_bytes(whole_file[:cut])
        with pytest.raises(BioimageError):
            predict(VALUES, broken, tile=12)
    for _ in range(200):
        data = bytearray(whole_file)
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
        broken.write_bytes(bytes(data))
        with contextlib.suppress(BioimageError):
            files_of(broken)
    with pytest.raises(SourceNotFoundError):
        predict(VALUES, tmp_path / "none.onnx", tile=12)


def test_a_file_that_changes_during_a_call_is_not_mixed(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", 2)
    model = OnnxFile(str(path), digest=digest_of(files_of(path)))
    model.open("cpu")
    network(path, 2, hidden=5)
    with pytest.raises(StorageError, match="has changed"):
        model.open("cpu")


def test_without_a_gpu_the_call_says_so(tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", 2)
    with pytest.raises(ConfigError, match="CUDAExecutionProvider"):
        predict(VALUES, path, tile=12, devices="cuda")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ConfigError, match="fell back to the processor"),
    ):  # a worker whose onnxruntime is another one than the driver's
        OnnxFile(str(path)).session("cuda:0")


# -- torch, of which only the interface is needed ----------------------------------------------------------------------

FAKE = """
import contextlib, pickle, numpy as np

class Tensor:
    def __init__(self, array, device="cpu"): self.array, self.device = array, device
    def to(self, device, dtype): return Tensor(self.array.astype(dtype), device)
    def float(self): return Tensor(self.array.astype(np.float32), self.device)
    def cpu(self): return Tensor(self.array)
    def numpy(self):
        assert self.device == "cpu"
        return self.array

def from_numpy(array): return Tensor(array)

float32 = np.float32

grad = True

@contextlib.contextmanager
def inference_mode():
    global grad
    grad, before = False, grad
    yield
    grad = before

class Module:
    training, device = True, "cpu"
    def eval(self):
        self.training = False
        return self
    def to(self, device):
        self.device = device
        return self
    def parameters(self): return []
    def __call__(self, tensor):
        assert not grad and not self.training and tensor.device == self.device
        return Tensor(tensor.array * 2, tensor.device)

class nn: Module = Module

class jit:
    @staticmethod
    def load(path, map_location): return Module()

def load(path, map_location, weights_only):
    assert not weights_only
    return pickle.load(open(path, "rb"))
"""


@pytest.fixture
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    import torch

    yield torch
    sys.modules.pop("torch", None)


def script(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/code/__torch__.py", "")
    return path


def test_torch_modules_and_scripts(tmp_path: Path, torch: Any) -> None:
    for model in (torch.nn.Module(), TorchModel(torch.nn.Module()), script(tmp_path / "net.pt")):
        found = predict(VALUES, model, tile=8, devices=["cuda:1"], block_shape=8, num_workers=2, progress=False)
        np.testing.assert_allclose(found, VALUES * 2, rtol=1e-6)


def test_a_module_stays_as_it_is_for_its_owner(torch: Any) -> None:
    module = torch.nn.Module()
    predict(VALUES, module, tile=8, devices=["cuda:1"], progress=False)
    assert (module.training, module.device) == (True, "cpu")


def test_a_module_that_makes_no_tensor_is_told_so(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda self, tensor: {"out": tensor})
    with pytest.raises(RunnerError, match="made a dict, not one tensor"):
        predict(VALUES, torch.nn.Module(), tile=8, progress=False, retries=0)


def test_what_is_no_module_is_refused(torch: Any) -> None:
    with pytest.raises(ParameterError, match="no module"):
        predict(VALUES, TorchModel(3), tile=8)
    with pytest.raises(ParameterError, match="setup"):
        predict(VALUES, torch.nn.Module(), tile=8, setup=dict)


def test_pickled_modules_are_refused_unless_trusted(tmp_path: Path, torch: Any) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps(torch.nn.Module()))
    with pytest.raises(FormatError, match="trusted=True"):
        predict(VALUES, path, tile=8)
    with pytest.raises(FormatError, match="trusted=True"):
        predict(VALUES, TorchModel(path), tile=8)
    np.testing.assert_allclose(predict(VALUES, TorchModel(path, trusted=True), tile=8), VALUES * 2, rtol=1e-6)
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(RunnerError, match="weights without a module"):
        predict(VALUES, TorchModel(path, trusted=True), tile=8, progress=False, retries=0)
    with pytest.raises(SourceNotFoundError):
        predict(VALUES, tmp_path / "none.pt", tile=8)


def test_a_damaged_archive_is_not_trusted(tmp_path: Path, torch: Any) -> None:
    path = script(tmp_path / "net.pt")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="trusted=True"):
        predict(VALUES, path, tile=8)


def test_without_torch_the_pip_line_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        predict(VALUES, script(tmp_path / "net.pt"), tile=8)


# -- what is refused before anything is computed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"tile": 0}, ParameterError),
        ({"tile": 8.5}, ParameterError),
        ({"tile": (8, 8, 8)}, ParameterError),
        ({"tile": True}, ParameterError),
        ({"tile": np.array([8.5, 8.5])}, ParameterError),
        ({"axes": np.array([0.0, 1.0])}, ParameterError),
        ({"channel_axis": [0]}, ParameterError),
        ({"channel_axis": 1.5}, ParameterError),
        ({"channel_axis": True}, ParameterError),
        ({"channels": 2**70}, ParameterError),
        ({"model": OnnxModel(3)}, ParameterError),
        ({"model": OnnxModel(b"net.onnx")}, ParameterError),
        ({"tile": 8, "overlap": 8}, ParameterError),
        ({"tile": 8, "overlap": -1}, ParameterError),
        ({"tile": 8, "overlap": 4, "margin": 3}, ParameterError),
        ({"tile": 8, "overlap": (4, "a")}, ParameterError),
        ({"batch": 0}, ParameterError),
        ({"batch": 1.0}, ParameterError),
        ({"channels": 0}, ParameterError),
        ({"channel_axis": 5}, ParameterError),
        ({"channel_axis": "c"}, ParameterError),
        ({"channel_axis": 0, "axes": (0, 1)}, ParameterError),
        ({"normalize": "minmax"}, ParameterError),
        ({"normalize": (1, 0)}, ParameterError),
        ({"normalize": (1, 2, 3)}, ParameterError),
        ({"normalize": (np.nan, 1)}, ParameterError),
        ({"normalize": [(0, 1), (0, 1)]}, ParameterError),
        ({"dtype": "bool"}, DtypeError),
        ({"dtype": "complex64"}, DtypeError),
        ({"dtype": "colour"}, DtypeError),
        ({"dtype": "uint8", "output": np.zeros((20, 24), "f4")}, DtypeError),
        ({"output": np.zeros((20, 24), bool)}, DtypeError),
        ({"output": np.zeros((20, 25), "f4")}, ShapeError),
        ({"scale": "large"}, ParameterError),
        ({"scale": np.inf}, ParameterError),
        ({"devices": "gpu 1"}, ParameterError),
        ({"setup": 3}, ParameterError),
        ({"model": 3}, ParameterError),
        ({"model": "net.txt"}, FormatError),
        ({"model": lambda: None}, ParameterError),
        ({"model": OnnxModel("net.onnx", threads=0)}, ParameterError),
        ({"input": np.zeros((4, 4), "c8")}, DtypeError),
        ({"input": np.zeros((0, 4), "u1"), "channel_axis": 0}, ShapeError),
    ],
)
def test_what_does_not_fit_is_refused(keywords: dict[str, Any], error: type[Exception]) -> None:
    given: dict[str, Any] = {"input": VALUES, "model": lambda batch: pytest.fail("it was called"), "tile": 8}
    with pytest.raises(error) as raised:
        predict(**{**given, **keywords})
    assert getattr(raised.value, "remedy", "")


def test_percentiles_out_of_range() -> None:
    for low, high in ((5, 5), (-1, 50), (0, 101), (np.nan, 3), ("a", 3)):
        with pytest.raises(ParameterError):
            Percentiles(low, high)  # type: ignore[arg-type]


def test_a_call_in_place_is_refused_where_blocks_see_each_other() -> None:
    values = VALUES.copy()
    with pytest.raises(AliasError):
        predict(values, same, values, tile=8, overlap=2, block_shape=8)
    np.testing.assert_array_equal(values, VALUES)
    predict(values, lambda batch: batch + 1, values, tile=8, overlap=2)
    np.testing.assert_allclose(values, VALUES + 1, rtol=1e-6)
