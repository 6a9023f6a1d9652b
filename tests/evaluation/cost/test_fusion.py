import pytest

torch = pytest.importorskip("torch")

from unhaze.evaluation.cost.fusion import count_fusion  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402
from unhaze.models.sites import DEFAULT_SITES  # noqa: E402
from unhaze.types import DepthLevel  # noqa: E402


# P2, Table 1, and what its two rows of 10.22G are expected to be: that of MB-TaylorFormer has 1.4G more than what the
# other rows agree on, with all three modules, and that of DehazeFormer repeats it, with HGDF alone
@pytest.mark.parametrize(
    ("backbone", "parameters", "macs"),
    [
        ("mb_taylorformer-b", 780e3, 10.22e9 - 1.4e9),
        ("dehazeformer-m", 780e3, 10.22e9 - 1.4e9),
        ("oknet", 1.22e6, 15.45e9),
        ("coa-deploy_rb8", 1.22e6, 1.59e9),
        ("sgdnet", 1.22e6, 15.45e9),
    ],
)
def test_hgdf_costs_what_its_paper_says(backbone, parameters, macs):
    cost = count_fusion(backbone, "hgdf")
    assert cost.convention_parameters == pytest.approx(parameters, rel=0.02)
    assert cost.convention_macs == pytest.approx(macs, rel=0.02)
    assert cost.parameters - cost.convention_parameters == len(cost.sites), "a learned scale is no layer"


@pytest.mark.parametrize("switches", [{"add_depth": False}, {"depth_key": False}])
def test_readings_of_one_equation_cost_the_same(switches):
    assert count_fusion("oknet", "hgdf", **switches) == count_fusion("oknet", "hgdf")


def test_it_is_the_sum_of_its_convolutions():
    """Concatenation has one convolution per site, at the size of the stage."""
    cost = count_fusion("dehazeformer-t", "concat", (DepthLevel(5, 14),))
    assert cost.sites == ("enc1", "enc2")
    assert cost.convention_parameters == cost.parameters == (24 + 5 + 1) * 24 + (48 + 5 + 1) * 48
    assert cost.convention_macs == (24 + 5) * 24 * 224**2 + (48 + 5) * 48 * 112**2


def test_the_networks_own_layers_do_not_count():
    assert count_fusion("sgdnet", "zero").convention_macs == 0
    one, both = (count_fusion("oknet", "hgdf", sites=sites) for sites in (["enc1"], ["enc1", "enc2"]))
    assert one.sites == ("enc1",)
    assert 0 < one.convention_macs < both.convention_macs
    assert count_fusion("oknet", "hgdf", feed_forward=False).convention_macs < both.convention_macs / 4


@pytest.mark.parametrize("name", list_networks())
def test_default_sites_exist(name):
    sites = DEFAULT_SITES.get(name) or DEFAULT_SITES.get(name.rsplit("-", 1)[0], ())
    with torch.device("meta"):
        stages = {stage.name for stage in create_network(name).stages}
    assert set(sites) <= stages


def test_every_family_with_sites_exists():
    names = list_networks()
    assert set(DEFAULT_SITES) <= {*names, *(name.rsplit("-", 1)[0] for name in names)}
