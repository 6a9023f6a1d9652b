import math

import pytest

from unhaze.errors import UsageError
from unhaze.restore.options import DehazeOptions


@pytest.mark.parametrize("name", ["strength", "color_blend", "protect_sky", "keep_exposure"])
@pytest.mark.parametrize("value", [1.01, -1.01, math.nan, math.inf])
def test_values_out_of_range_name_the_option(name, value):
    with pytest.raises(UsageError, match=f"{name} is .* must be a number between"):
        DehazeOptions(**{name: value})


def test_only_strength_may_be_negative():
    assert DehazeOptions(strength=-1.0).strength == -1
    with pytest.raises(UsageError):
        DehazeOptions(protect_sky=-0.1)
