"""The public surface: names and signatures that others build on. A change here is a change for users."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import unhaze

ERRORS = {
    "ImageDecodeError",
    "ImageEncodeError",
    "ImageError",
    "ImageTooLargeError",
    "ImageValueError",
    "MissingDependencyError",
    "MissingError",
    "OutputError",
    "OutputExistsError",
    "OverBudgetError",
    "PluginWarning",
    "UnhazeError",
    "UnknownNameError",
    "UnsupportedImageError",
    "UsageError",
    "WeightsError",
    "WeightsNotFoundError",
}
DOORS = {"Dehazer", "create_model", "dehaze", "list_models", "load_model", "model_info"}
TYPES = {"DehazeResult", "DepthMap", "ModelInfo", "__version__"}

SIGNATURES = {
    "dehaze": "(image, *, output=None, model=None, weights=None, strength=1.0, color_blend=0.8, protect_sky=1.0, "
    "keep_exposure=None, spare_clear=1.0, white=None, engine='auto', device='auto', precision='fp32', tile=None, "
    "compile=False, depth=None, depth_weights=None, backbone_weights=None, prompts=1, max_memory=None, "
    "max_pixels=500000000, threads=None)",
    "Dehazer": "(model=None, *, weights=None, strength=1.0, color_blend=0.8, protect_sky=1.0, keep_exposure=None, "
    "spare_clear=1.0, white=None, engine='auto', device='auto', precision='fp32', tile=None, compile=False, "
    "depth=None, depth_weights=None, backbone_weights=None, prompts=1, max_memory=None, max_pixels=500000000, "
    "threads=None)",
    "create_model": "(name, depth=None, **options)",
    "list_models": "(kind=None)",
    "load_model": "(path, name=None, depth=None, **options)",
    "model_info": "(name)",
}

CATALOGUES = {  # room -> what lists, creates and describes
    "models": ("list_models", "create_model", "model_info"),
    "fusion": ("list_fusions", "create_fusion", "fusion_info"),
    "depth": ("list_depth", "create_depth", "depth_info"),
    "metrics": ("list_metrics", "create_metric", "metric_info"),
    "data": ("list_datasets", "create_dataset", "dataset_info"),
}

BASES = {"models": "Model", "fusion": "Fusion", "depth": "DepthEstimator", "metrics": "Metric"}


def test_names():
    assert set(unhaze.__all__) == ERRORS | DOORS | TYPES
    assert set(unhaze.__all__) <= set(dir(unhaze))
    assert all(getattr(unhaze, name) is not None for name in unhaze.__all__)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signatures(name):
    parameters = inspect.signature(getattr(unhaze, name)).parameters.values()
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    assert str(inspect.Signature(plain)) == SIGNATURES[name]


@pytest.mark.parametrize("room", sorted(CATALOGUES))
def test_every_catalogue_has_the_same_verbs(room):
    module = __import__(f"unhaze.{room}", fromlist=["_"])
    names, create, describe = (getattr(module, name) for name in CATALOGUES[room])
    assert names()
    assert callable(create)
    assert describe(names()[0]) is not None


@pytest.mark.parametrize("room", sorted(BASES))
def test_base_classes_are_public(room):
    pytest.importorskip("torch")
    assert isinstance(getattr(getattr(unhaze, room), BASES[room]), type)


def test_errors_that_a_caller_may_catch_are_all_that_there_are():
    import unhaze.errors

    assert set(unhaze.errors.__all__) == ERRORS


def test_importing_is_cheap_and_listing_needs_no_torch():
    code = "import sys, unhaze; print(*{'torch', 'cv2', 'numpy'} & set(sys.modules)); unhaze.list_models()\n"
    code += "print(*{'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
