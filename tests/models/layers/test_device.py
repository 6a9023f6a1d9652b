import pytest

torch = pytest.importorskip("torch")

from unhaze.catalog import check_device  # noqa: E402
from unhaze.errors import UnknownNameError, UsageError  # noqa: E402
from unhaze.models.layers.device import choose_device  # noqa: E402


@pytest.mark.parametrize("name", ["auto", "cpu", "cpu:0", "cuda", "cuda:0", "cuda:12", "mps", "mps:0", "xpu:1"])
def test_names_of_devices_are_known(name):
    check_device(name)


@pytest.mark.parametrize("name", ["", "tpu", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "auto:0", "cuda:1\n"])
def test_other_names_are_reported_with_near_ones(name):
    with pytest.raises(UnknownNameError, match="There is no device named"):
        check_device(name)


def make_devices(monkeypatch, kind, count):
    """As if torch had this many devices of a kind; of the processor there is always one."""
    if kind != "cpu":
        module = getattr(torch, kind)
        monkeypatch.setattr(torch.backends.mps if kind == "mps" else module, "is_available", lambda: count > 0)
        monkeypatch.setattr(module, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("name", "there", "reported"),
    [
        ("cuda", 0, "no CUDA device that torch can use; leave --device out"),
        ("mps", 0, "no MPS device"),
        ("xpu:1", 0, "no XPU device"),
        ("cuda:2", 2, "no device cuda:2; name cuda:0 or cuda:1"),
        ("cpu:1", 1, "no device cpu:1; name cpu:0"),
    ],
)
def test_a_device_that_is_not_there_is_reported_in_a_sentence(monkeypatch, name, there, reported):
    make_devices(monkeypatch, name.partition(":")[0], there)
    with pytest.raises(UsageError, match=reported):
        choose_device(name)


@pytest.mark.parametrize(("name", "kind", "index"), [("cuda:1", "cuda", 1), ("mps", "mps", None), ("xpu:0", "xpu", 0)])
def test_a_device_that_is_there_is_taken(monkeypatch, name, kind, index):
    make_devices(monkeypatch, kind, 2)
    device = choose_device(name)
    assert (device.type, device.index) == (kind, index)


def test_auto_is_the_processor_where_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="no CUDA device"):
        choose_device("cuda")
