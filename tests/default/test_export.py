"""ONNX against torch."""

import numpy as np
import pytest
import torch

from unhaze.default.export import FIELD_INPUT, FIELD_OUTPUTS, FieldExport, export_field, round_weights
from unhaze.default.network import FieldNetwork

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    network = FieldNetwork((8, 8, 16, 16, 16), (1, 1), 8)
    for name, parameter in network.named_parameters():
        if not name.startswith("encoder"):
            torch.nn.init.normal_(parameter, std=0.1)  # away from the neutral start, where all outputs are alike
    path = export_field(network, tmp_path_factory.mktemp("onnx") / "deep" / "field.onnx")
    return network, path


@pytest.mark.parametrize("size", [(32, 32), (128, 256), (256, 192), (32, 256)])
def test_parity_at_any_size(exported, size):
    network, path = exported
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(list(FIELD_OUTPUTS), {FIELD_INPUT: image.numpy()})
    with torch.no_grad():
        expected = FieldExport(round_weights(network)).eval()(image)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4)
    assert found[0].min() < found[0].max()


def test_the_file_does_not_tell_where_it_was_made(exported):
    content = exported[1].read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def test_one_file_without_data_beside_it(exported):
    _, path = exported
    assert [each.name for each in path.parent.iterdir()] == ["field.onnx"]


def test_weights_are_rounded_to_half_precision_and_half_the_size(exported):
    network, path = exported
    before = torch.cat([each.flatten() for each in network.parameters()])
    after = torch.cat([each.flatten() for each in round_weights(network).parameters()])
    assert not torch.equal(before, after)
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-6)
    assert path.stat().st_size < 2.2 * before.numel() + 100_000
