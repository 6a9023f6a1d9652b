"""Figures of a data set whose contents are known."""

import numpy as np
import pytest
from tests.trees import build, picture, write

from unhaze.data import create_dataset
from unhaze.data.dataset import Sample
from unhaze.data.inspection import contact_sheet, spread, statistics, unreadable_pairs
from unhaze.errors import UsageError
from unhaze.types import DepthMap


def flat(value, size=(20, 30)):
    return np.full((*size, 3), value, np.uint8)


def test_figures_by_hand(tmp_path):
    for name, hazy, clear in (("a", 200, 0), ("b", 100, 50)):
        write(tmp_path / f"hazy/{name}.png", flat(hazy))
        write(tmp_path / f"clear/{name}.png", flat(clear))
    found = statistics(create_dataset("folders", tmp_path))
    assert found.sizes == {(30, 20): 2}
    assert found.hazy_mean == pytest.approx((150 / 255,) * 3, abs=1e-4)
    assert found.hazy_std == pytest.approx((50 / 255,) * 3, abs=1e-4)
    assert found.dark_hazy == pytest.approx(150 / 255, abs=1e-4)
    assert found.dark_clear == pytest.approx(25 / 255, abs=1e-4)
    assert found.with_depth == 0


def test_duplicates_are_found_by_content_but_shared_files_are_none(tmp_path):
    build(tmp_path, [(f"hazy/{n}_{k}_1.png", f"clear/{n}.png") for n in (1, 2, 3) for k in (1, 2)])
    write(tmp_path / "hazy/3_2_1.png", create_dataset("reside-its", tmp_path)[0].hazy)
    write(tmp_path / "clear/3.png", create_dataset("reside-its", tmp_path)[2].clear)
    found = statistics(create_dataset("reside-its", tmp_path))
    assert found.hazy_duplicates == [["1_1_1", "3_2_1"]]
    assert found.clear_duplicates == [["2_1_1", "3_1_1"]]
    assert not statistics(create_dataset("reside-its", tmp_path).select([0, 1, 2, 3])).clear_duplicates


def test_unreadable_pairs_are_named_and_the_rest_is_measured(tmp_path):
    build(tmp_path, [(f"hazy/{n}.png", f"clear/{n}.png") for n in range(9)])
    (tmp_path / "clear/4.png").write_bytes(b"no picture")
    write(tmp_path / "hazy/6.png", picture(0, (3, 3)))
    dataset = create_dataset("folders", tmp_path)
    assert set(unreadable_pairs(dataset, threads=1)) == {"4", "6"}
    found = statistics(dataset)
    assert set(found.unreadable) == {"4", "6"}
    assert found.sizes == {(32, 24): 7}
    with pytest.raises(UsageError, match="No pair can be read"):
        statistics(dataset.select([4]))
    assert statistics(dataset, limit=3).looked_at == 3
    assert spread(9, 3) == [0, 4, 8]


def test_a_sheet_shows_hazy_clear_and_depth():
    depth = np.tile(np.linspace(1, 9, 30, dtype=np.float32), (20, 1))
    known = Sample(flat(200), flat(100), DepthMap(depth, "metric"), "a")
    sheet = contact_sheet([known, Sample(flat(10), flat(20), None, "b")], height=20, columns=1)
    assert sheet.shape == (2 * 24 + 4, 90 + 8, 3)
    assert (sheet[10, 10] == 200).all()
    assert (sheet[10, 45] == 100).all()
    near, far = sheet[10, 4 + 60 + 1], sheet[10, 4 + 60 + 28]
    assert (near > far).all()
    assert (sheet[4 + 24 + 10, 80] == sheet[0, 0]).all()  # nothing is known
    assert contact_sheet([Sample(flat(1), flat(2), None, "c")], height=20).shape == (28, 60 + 8, 3)
    with pytest.raises(UsageError):
        contact_sheet([])
