"""Settings of the model that ships."""

from __future__ import annotations

from unhaze.default import recipe

__all__ = ["field_default"]


def field_default() -> recipe.Config:
    """The weights that ship with unhaze, from scratch in two parts."""
    return recipe.default_config()
