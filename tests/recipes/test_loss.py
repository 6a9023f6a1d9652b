"""The table of losses, on what networks return."""

import pytest
import torch

from unhaze.errors import UsageError
from unhaze.losses import amplitude_loss, frozen_codes, pixel_loss, target_with_phase_of
from unhaze.models.mitnet import MITNet
from unhaze.training.loss import LossConfig, restoration_terms
from unhaze.types import Restored

NONE = LossConfig(l1=0.0)


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def restored(pictures):
    torch.manual_seed(0)
    return MITNet(channels=4).restore(pictures[0])


def terms(restored, pictures, **weights):
    return restoration_terms(restored, pictures[1], pictures[0], LossConfig(**({"l1": 0.0} | weights)))


def test_two_stages_are_compared_as_the_official_code_does(pictures, restored):
    hazy, clear = pictures
    found = terms(restored, pictures, l1=1.0, stage1=1.0, amplitude=0.05, frequency=0.05, mutual_information=0.001)
    spectrum = torch.fft.rfft2(clear)
    target = torch.fft.irfft2(spectrum.abs() * torch.exp(1j * torch.fft.rfft2(hazy).angle()))
    first = restored.aux["stage1"]
    of_spectrum = torch.view_as_real(torch.fft.rfft2(restored.image)) - torch.view_as_real(spectrum)
    expected = {
        "l1": (restored.image - clear).abs().mean(),
        "stage1": (first - target).abs().mean(),
        "amplitude": 0.05 * (restored.aux["stage1_amplitude"] - spectrum.abs()).abs().mean(),
        "frequency": 0.05 * of_spectrum.abs().mean(),
    }
    assert {*found} == {*expected, "mutual_information"}
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4), name


def test_mutual_information_is_taken_at_three_sizes_and_reaches_both_stages(pictures, restored):
    torch.manual_seed(2)
    found = terms(restored, pictures, mutual_information=0.5)["mutual_information"]
    torch.manual_seed(2)
    parts = [
        frozen_codes(4 * 2**i, (32 >> i, 32 >> i), "cpu")(restored.aux[f"phase{i}"], restored.aux[f"amplitude{i}"])
        for i in range(3)
    ]
    assert float(found.detach()) == pytest.approx(0.5 * float(sum(parts).detach()), rel=1e-5)
    network = MITNet(channels=4)
    terms(network.restore(pictures[0]), pictures, mutual_information=0.5)["mutual_information"].backward()
    for name in ("stem1", "enc1", "enc5"):
        gradients = [p.grad for p in network.get_submodule(name).parameters() if p.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0, name


def test_padding_of_the_first_stage_is_left_out(pictures):
    torch.manual_seed(0)
    hazy, clear = pictures[..., :30, :20]
    restored = MITNet(channels=4).restore(hazy)
    first = restored.aux["stage1"]
    assert first.shape[-2:] == (32, 32)
    found = restoration_terms(restored, clear, hazy, LossConfig(l1=0.0, stage1=1.0, amplitude=1.0))
    first = first[..., :30, :20]
    assert torch.equal(found["stage1"], pixel_loss(first, target_with_phase_of(clear, hazy)))
    assert torch.equal(found["amplitude"], amplitude_loss(torch.fft.rfft2(first).abs(), clear))


def test_squared_errors_are_summed_over_a_pyramid(pictures):
    hazy, clear = pictures
    half = hazy[..., ::2, ::2]
    found = terms(Restored(hazy, (half,)), pictures, mse=2.0)["mse"]
    smaller = torch.nn.functional.interpolate(clear, scale_factor=0.5, mode="bilinear")
    expected = 2 * (((hazy - clear) ** 2).mean() + ((half - smaller) ** 2).mean())
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", ["stage1", "amplitude", "mutual_information"])
def test_a_term_that_a_network_does_not_serve_is_named(pictures, name):
    with pytest.raises(UsageError, match=f"loss.{name}=0"):
        terms(Restored(pictures[0]), pictures, **{name: 1.0})


def test_no_term_at_all_is_refused(pictures):
    with pytest.raises(UsageError, match="All weights of the loss are 0"):
        restoration_terms(Restored(pictures[0]), pictures[1], pictures[0], NONE)
