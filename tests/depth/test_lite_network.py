"""The network of compact-v2: its start, its range, and ONNX against torch."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from unhaze.default.export import round_weights, write_onnx  # noqa: E402
from unhaze.depth.lite_network import DepthNetwork, field_weights  # noqa: E402
from unhaze.errors import UsageError  # noqa: E402

SMALL = ((8, 8, 16, 16, 16), (1, 1), 8)


def picture(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_it_begins_as_the_depth_of_the_default():
    network = DepthNetwork().eval()
    network.load_state_dict(field_weights())
    session = onnxruntime.InferenceSession(str(files("unhaze.default") / "field-m.onnx"))
    (expected,) = session.run(["log_depth"], {"view": picture(64, 96).numpy()})
    with torch.no_grad():
        found = network(picture(64, 96))
    np.testing.assert_allclose(found.numpy(), -expected, atol=1e-4)
    assert expected.std() > 0.01


def test_another_network_is_no_start(tmp_path):
    path = write_onnx(DepthNetwork(*SMALL), tmp_path / "small.onnx", ["log_inverse_depth"])
    with pytest.raises(UsageError, match="is another network than the default's"):
        field_weights(path)


def test_onnx_equals_torch_and_the_range_holds(tmp_path):
    torch.manual_seed(0)
    network = DepthNetwork(*SMALL)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    torch.nn.init.constant_(network.head.bias, 6.0)  # so that about half of the places would leave the range
    path = write_onnx(round_weights(network), tmp_path / "net.onnx", ["log_inverse_depth"])
    session = onnxruntime.InferenceSession(str(path))
    for size in ((32, 32), (96, 160)):
        (found,) = session.run(None, {"view": picture(*size).numpy()})
        with torch.no_grad():
            expected = round_weights(network).eval()(picture(*size))
        assert found.shape == (1, 1, size[0] // 2, size[1] // 2)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)
        assert found.min() < found.max() == 6
