"""A small network with weights of the tests' own making, and what it was exported to."""

import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    import torch

    from unhaze.models.checkpoints import save_weights
    from unhaze.models.networks import create_network

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "aod.safetensors"
    save_weights(create_network("aodnet-base").state_dict(), path, "aodnet-base")
    return path


@pytest.fixture(scope="session")
def exported(weights, tmp_path_factory):
    from unhaze.exporting.exporter import ExportRequest, export_model

    folder = tmp_path_factory.mktemp("exported")
    return export_model(ExportRequest(None, weights, repeats=0), folder)
