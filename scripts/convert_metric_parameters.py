"""Convert the published parameters of BRISQUE, FADE, NIQE and LPIPS into ``src/unhaze/metrics/params``.

The originals are not part of this project. To repeat the conversion, put them into one folder as they were released,

    FADE/natural_fogfree_image_features_ps8.mat, FADE/natural_foggy_image_features_ps8.mat
        from the FADE software release of LIVE, UT Austin, http://live.ece.utexas.edu/research/fog/FADE_release.zip
    NIQE/modelparameters.mat
        from the NIQE software release of LIVE, UT Austin, http://live.ece.utexas.edu/research/quality/niqe_release.zip
    BRISQUE/allmodel, BRISQUE/allrange
        from the BRISQUE software release of LIVE, UT Austin,
        http://live.ece.utexas.edu/research/quality/BRISQUE_release.zip
    LPIPS_linear/v0.1/alex.pth
        from https://github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1

and run ``python scripts/convert_metric_parameters.py FOLDER``. Figures are carried over bit for bit and only renamed;
the copyright notices that must travel with them lie next to the results.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.io import loadmat

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET = Path(__file__).parents[1] / "src" / "unhaze" / "metrics" / "params"
Arrays = dict[str, "NDArray[np.floating]"]


def fade(folder: Path) -> Arrays:
    """Mean (12,) and covariance (12, 12) of the features of fog-free and of foggy 8x8 patches."""
    fog_free = loadmat(str(folder / "FADE" / "natural_fogfree_image_features_ps8.mat"))
    foggy = loadmat(str(folder / "FADE" / "natural_foggy_image_features_ps8.mat"))
    return {
        "fog_free_mean": fog_free["mu_fogfreeparam"].ravel(),
        "fog_free_covariance": fog_free["cov_fogfreeparam"],
        "foggy_mean": foggy["mu_foggyparam"].ravel(),
        "foggy_covariance": foggy["cov_foggyparam"],
    }


def niqe(folder: Path) -> Arrays:
    """Mean (36,) and covariance (36, 36) of the features of pristine 96x96 blocks."""
    pristine = loadmat(str(folder / "NIQE" / "modelparameters.mat"))
    return {"mean": pristine["mu_prisparam"].ravel(), "covariance": pristine["cov_prisparam"]}


def brisque(folder: Path) -> Arrays:
    """The support vector regression (LIBSVM, radial basis functions) and the ranges of its features."""
    head, _, body = (folder / "BRISQUE" / "allmodel").read_text("ascii").partition("SV\n")
    facts = dict(line.split(" ", 1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines()]
    vectors = np.zeros((len(rows), 36), np.float32)  # six digits each; entries that are 0 are left out of the file
    for vector, row in zip(vectors, rows, strict=True):
        for entry in row[1:]:
            place, _, value = entry.partition(":")
            vector[int(place) - 1] = float(value)
    ranges = [line.split() for line in (folder / "BRISQUE" / "allrange").read_text("ascii").splitlines()[2:]]
    return {
        "coefficients": np.array([float(row[0]) for row in rows]),
        "vectors": vectors,
        "gamma": np.array(float(facts["gamma"])),
        "rho": np.array(float(facts["rho"])),
        "least": np.array([float(row[1]) for row in ranges]),
        "greatest": np.array([float(row[2]) for row in ranges]),
    }


def lpips(folder: Path) -> Arrays:
    """The learned weight of every channel of the five AlexNet layers."""
    path = folder / "LPIPS_linear" / "v0.1" / "alex.pth"
    heads = torch.load(path, map_location="cpu", weights_only=True)
    return {f"head{i}": heads[f"lin{i}.model.1.weight"].numpy().ravel() for i in range(5)}


def main(folder: Path) -> None:
    """Write one ``.npz`` per metric."""
    for convert in (brisque, fade, niqe, lpips):
        path = TARGET / f"{convert.__name__}.npz"
        np.savez(path, allow_pickle=False, **convert(folder))
        print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
