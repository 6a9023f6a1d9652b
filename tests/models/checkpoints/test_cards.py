"""The table of weights: every network has its card, and what the card says is true as far as it can be checked here."""

import ast
import json
import os
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import unhaze.models  # noqa: E402
from unhaze.models.checkpoints import cards, load_network, save_weights  # noqa: E402
from unhaze.models.checkpoints.cards import NONE_STATED, NetworkShape, list_cards, network_card, network_shape  # noqa: E402
from unhaze.models.checkpoints.detect import expected_tensors  # noqa: E402
from unhaze.models.networks import create_network, list_networks  # noqa: E402
from unhaze.types import ImageContract  # noqa: E402

SOURCES = Path(unhaze.models.__file__).parent
SHAPES = SOURCES / "checkpoints" / "shapes.json"
NETWORKS_PAGE = Path(__file__).parents[3] / "docs" / "networks.md"
LICENCES = {"MIT": "MIT", "Apache-2.0": "Apache-2.0", "CC-BY-NC-SA-4.0": "CC BY-NC-SA 4.0"}


def header(name):
    text = (SOURCES / f"{name.rpartition('-')[0]}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text))


def sizes_of(network):
    return Counter(tensor.numel() for tensor in network.state_dict().values())


def write_shape(name, network):
    """Put into the table what a network says of itself, one network a line."""
    shapes = json.loads(SHAPES.read_text())
    told = {field.name: getattr(network.contract, field.name) for field in fields(ImageContract)}
    shapes[name] = {
        "stages": [[stage.name, stage.channels, stage.stride] for stage in network.stages],
        "contract": {key: value for key, value in told.items() if value != getattr(ImageContract(), key)},
        "sizes": {str(size): count for size, count in sorted(sizes_of(network).items())},
    }
    lines = [f"  {json.dumps(each)}: {json.dumps(shapes[each])}" for each in list_networks() if each in shapes]
    SHAPES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    cards._shapes.cache_clear()


def test_every_network_has_a_card_and_every_card_a_network():
    assert list(json.loads(SHAPES.read_text())) == list_networks()
    assert network_shape("of-another-package") is None
    assert list_cards() == list_networks()
    assert network_card("of-another-package") is None


@pytest.mark.parametrize("name", list_networks())
def test_a_card_agrees_with_its_network(name):
    card = network_card(name)
    with torch.device("meta"):
        network = create_network(name)
    assert card.parameters == sum(p.numel() for p in network.parameters())
    if os.environ.get("UNHAZE_UPDATE_KEYS"):
        write_shape(name, network)
    assert network_shape(name) == NetworkShape(network.stages, network.contract, sizes_of(network)), (
        "UNHAZE_UPDATE_KEYS=1 accepts it"
    )
    official = re.search(r"Official code: (\S+ at \w+) \(([^)]+)\)", header(name))
    assert official, "the header names the official code and its licence"
    assert card.source == official[1]
    assert official[2] == LICENCES.get(card.license, "no licence stated")
    assert card.license in LICENCES or card.license.startswith(NONE_STATED)


@pytest.mark.parametrize("name", list_networks())
def test_a_card_is_complete(name):
    card = network_card(name)
    assert bool(card.weights) != bool(card.unpublished), "weights, or why there are none"
    assert card.parity is not None or card.measured, "what was measured, or why nothing was"
    assert card.measured or not any(weights.sha256 for weights in card.weights), "what files that were had give"
    assert card.recognised
    for weights in card.weights:
        assert re.fullmatch(r"https://\S+", weights.url)
        assert re.fullmatch(r"([0-9a-f]{64})?", weights.sha256)
        assert weights.trained_on
        assert (weights.license, weights.source) == (card.license, card.source)
        year = re.search(r"\d{4}", weights.paper)[0]
        assert year in header(name)
        assert all(re.fullmatch(r"[\w-]+/(psnr|ssim)", score) for score in weights.reported)


def test_two_networks_have_the_same_tensors_only_where_the_card_says_so():
    """So that a file tells by itself which network it belongs to, or its card that it cannot."""
    known = {}
    for name in list_networks():
        shapes = frozenset(expected_tensors(name)[0].items())
        assert known.setdefault(shapes, name) == (network_card(name).taken_for or name)


@pytest.mark.parametrize("name", [name for name in list_networks() if network_card(name).taken_for])
def test_a_file_is_taken_for_what_the_card_says_unless_it_names_its_network(name, tmp_path):
    card = network_card(name)
    assert f"as {card.taken_for}, which has the same" in card.recognised
    state = create_network(name).state_dict()
    torch.save(state, tmp_path / "plain.pth")
    assert load_network(tmp_path / "plain.pth")[1] == card.taken_for
    assert load_network(tmp_path / "plain.pth", name)[1] == name
    save_weights(state, tmp_path / "named.safetensors", name)
    assert load_network(tmp_path / "named.safetensors")[1] == name


def test_the_documentation_says_the_same():
    told = {}
    for line in NETWORKS_PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`") and re.fullmatch(r"[\d,\s]*", cells[2]):
            first, *others = re.findall(r"`([\w-]+)`", cells[0])
            names = [first, *(first.rpartition("-")[0] + other if other.startswith("-") else other for other in others)]
            counts = re.findall(r"\d+(?:,\d{3})*", cells[2])
            errors = re.findall(r"\de-\d", cells[5])
            for index, name in enumerate(names):
                count = counts[index] if counts else None
                told[name] = (count, errors[min(index, len(errors) - 1)] if errors else None)
    assert sorted(told) == list_cards()
    for name, (count, error) in told.items():
        card = network_card(name)
        assert count is None or int(count.replace(",", "")) == card.parameters
        assert (None if error is None else float(error)) == card.parity
