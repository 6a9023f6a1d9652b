"""What every network of the catalogue promises."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.networks import create, fitting_size, image, network, on_meta, relative, smallest_of_each_family  # noqa: E402

from unhaze.errors import UsageError  # noqa: E402
from unhaze.models.base import Model, finish, prepare  # noqa: E402
from unhaze.models.layers.stage import record_stages  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402
from unhaze.types import Restored  # noqa: E402

KEYS = Path(__file__).parent.parent / "fixtures" / "keys"


ALL = list_networks()
FAMILIES = smallest_of_each_family()


@pytest.fixture(autouse=True)
def one_thread():
    """More threads than free cores make small networks slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def is_dead(net, parameter):
    return any(re.search(pattern, parameter) for pattern in net.dead)


@pytest.mark.parametrize("name", ALL)
def test_keys_and_shapes_are_the_committed_ones(name):
    state = on_meta(name).state_dict()
    templates = Counter((re.sub(r"(?<=\.)\d+(?=\.)", "#", key), tuple(tensor.shape)) for key, tensor in state.items())
    lines = [f"{count} x {key} {list(shape)}" for (key, shape), count in templates.items()]
    listing = "\n".join(f"{key} {list(tensor.shape)}" for key, tensor in sorted(state.items()))
    text = "\n".join([*lines, f"sha256 of all keys and shapes: {hashlib.sha256(listing.encode()).hexdigest()}", ""])
    path = KEYS / f"{name}.txt"
    if os.environ.get("UNHAZE_UPDATE_KEYS"):
        path.write_text(text)
    assert text == path.read_text(), "a changed key makes published weights useless; UNHAZE_UPDATE_KEYS=1 accepts it"


@pytest.mark.parametrize("name", ALL)
def test_declares_itself(name):
    net = on_meta(name)
    assert isinstance(net, Model)
    assert len({stage.name for stage in net.stages}) == len(net.stages) > 0
    assert all(re.fullmatch(r"(enc|dec)\d+|mid", stage.name) for stage in net.stages)
    low, high = net.contract.value_range
    assert low < high
    unused = [pattern for pattern in net.dead if not any(re.search(pattern, n) for n, _ in net.named_parameters())]
    assert unused == []
    with pytest.raises(UsageError, match="no_such_argument"):
        create_network(name, no_such_argument=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_true(name):
    net = network(name)
    seen, entered = {}, {}

    def watch(stage, block, x):
        entered.setdefault(stage, []).append(x.shape)
        return block(x)

    height, width = fitting_size(net.contract)
    with torch.no_grad():
        net(prepare(image(height, width, batch=2), net.contract), record_stages(seen, watch))
    assert list(seen) == [stage.name for stage in net.stages]
    for stage in net.stages:
        expected = (2, stage.channels, height // stage.stride, width // stage.stride)
        assert {tuple(x.shape) for x in seen[stage.name]} == {expected}
        assert {tuple(shape) for shape in entered[stage.name]} == {expected}, "a stage keeps the shape of its input"


@pytest.mark.parametrize("size", [(5, 3), (37, 50)])
@pytest.mark.parametrize("name", FAMILIES)
def test_any_size(name, size):
    with torch.no_grad():
        restored = network(name).restore(image(*size))
    assert restored.image.shape == (1, 3, *size)
    assert restored.image.isfinite().all()
    sides = [x.shape[-2] for x in (*restored.pyramid, restored.image)]
    assert sides == sorted(sides)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_contract_undoes_what_it_does(name):
    contract = network(name).contract
    public = image(37, 50)
    mapped = prepare(public, contract)
    assert mapped.shape[-2] % contract.multiple_of == mapped.shape[-1] % contract.multiple_of == 0
    unmapped = mapped * torch.tensor(contract.std).view(3, 1, 1) + torch.tensor(contract.mean).view(3, 1, 1)
    back = finish(Restored(unmapped, pyramid=(unmapped[..., ::2, ::2],)), contract, (37, 50))
    torch.testing.assert_close(back.image, public, atol=2e-6, rtol=0)
    assert back.pyramid[0].shape[-2:] == (19, 25)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_what_is_not_dead(name):
    net = create(name)
    size = fitting_size(net.contract)
    restored = net(prepare(image(*size, batch=2), net.contract))
    outputs = (restored.image, *restored.pyramid, *(x for x in restored.aux.values() if x.is_floating_point()))
    sum(x.square().mean() for x in outputs).backward()
    trainable = {n: p for n, p in net.named_parameters() if p.requires_grad}
    assert {n for n, p in trainable.items() if p.grad is None} == {n for n in trainable if is_dead(net, n)}
    assert all(p.grad.isfinite().all() for p in trainable.values() if p.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_copy_is_independent(name):
    net = network(name)
    x = prepare(image(*fitting_size(net.contract)), net.contract)
    with torch.no_grad():
        before = net(x).image
        twin = copy.deepcopy(net)
        torch.testing.assert_close(twin(x).image, before, rtol=0, atol=0)
        for parameter in twin.parameters():
            parameter.mul_(1.5).add_(0.01)
        assert not torch.equal(twin(x).image, before)
        torch.testing.assert_close(net(x).image, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_threads_do_not_disturb_one_another_and_a_batch_equals_its_images(name):
    net = network(name)
    height, width = fitting_size(net.contract)
    inputs = [prepare(image(height, width, seed=seed), net.contract) for seed in range(3)]

    def run(x):
        with torch.no_grad():
            return net(x).image

    alone = [run(x) for x in inputs]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, inputs))
    batch = run(torch.cat(inputs))
    for i in range(3):
        assert relative(together[i], alone[i]) < 1e-5
        assert relative(batch[i : i + 1], alone[i]) < 1e-5


def check_export(net):
    x = prepare(image(*fitting_size(net.contract)), net.contract)
    with torch.no_grad():
        exported = torch.export.export(net, (x,)).module()(x)
        assert relative(exported.image, net(x).image) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_exports(name):
    check_export(network(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_exports_at_full_depth(name):
    check_export(create_network(name).eval())


@pytest.mark.parametrize("name", [name for name in ALL if on_meta(name).contract.tiling is not None])
def test_the_receptive_field_is_no_larger_than_declared(name):
    net = create_network(name).eval()
    size = 2 * net.contract.tiling + 4 * net.contract.multiple_of
    x = image(32, size)
    centre = size // 2
    x[..., centre] = torch.nan  # spreads to whatever depends on it
    with torch.no_grad():
        spread = net(prepare(x, net.contract)).image.isnan().any(1).any(1)[0].nonzero()
    assert net.contract.tiling / 2 < (spread - centre).abs().max() <= net.contract.tiling


@pytest.mark.parametrize("name", [name for name in ALL if on_meta(name).folded.__func__ is not Model.folded])
def test_folding_keeps_the_function_and_the_original(name):
    net = network(name)
    x = prepare(image(*fitting_size(net.contract)), net.contract)
    with torch.no_grad():
        before = net(x).image
        folded = net.folded()
        assert relative(folded(x).image, before) < 1e-5
        torch.testing.assert_close(net(x).image, before, rtol=0, atol=0)
    assert sum(p.numel() for p in folded.parameters()) <= sum(p.numel() for p in net.parameters())
