import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhaze.data.pairing import list_pictures, pair_names, parse_rule
from unhaze.errors import UsageError


@pytest.mark.parametrize(
    ("results", "targets", "rule"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"], "same-name"),
        (["a.png", "b.jpg"], ["a.jpg", "b.png"], "same-name"),
        (["1400_8.png"], ["1400.png"], "reside"),
        (["0001_0.8_0.2.jpg"], ["0001.png"], "reside"),
        (["1_1_0.90179.png"], ["1.png"], "reside"),
        (["01_outdoor_hazy.jpg"], ["01_outdoor_GT.jpg"], "o-haze"),
        (["01_hazy.png"], ["01_GT.png"], "o-haze"),
        (["hazy-7.png"], ["clear-7.png"], "o-haze"),
        (["in/a_1.png"], ["in/a.png"], "reside"),
    ],
)
def test_layouts_of_the_field_are_detected(results, targets, rule):
    pairing = pair_names(results, targets)
    assert pairing.rule == rule
    assert pairing.pairs == tuple(zip(results, targets, strict=True))
    assert rule in pairing.how
    assert not pairing.unmatched
    assert not pairing.ambiguous
    assert not pairing.unused


def test_every_result_of_a_scene_finds_its_one_target():
    results = [f"{scene}_{index}.png" for scene in (1400, 1401) for index in range(1, 11)]
    pairing = pair_names(results, ["1400.png", "1401.png"])
    assert pairing.pairs == tuple(sorted((name, name.split("_")[0] + ".png") for name in results))


def test_unmatched_results_and_unused_targets_are_named():
    pairing = pair_names(["a.png", "b.png", "x.png"], ["a.png", "b.png", "c.png"])
    assert pairing.unmatched == ("x.png",)
    assert pairing.unused == ("c.png",)
    assert "2 of 3" in pairing.how


def test_two_targets_of_one_stem_are_ambiguous():
    pairing = pair_names(["a.png"], ["a.png", "a.jpg", "b.png"], "same-name")
    assert pairing.pairs == ()
    assert pairing.ambiguous == {"a.png": "fits 2 targets: a.jpg, a.png"}


def test_two_results_of_one_stem_are_ambiguous():
    pairing = pair_names(["a.png", "a.jpg", "b.png"], ["a.png", "b.png"])
    assert pairing.pairs == (("b.png", "b.png"),)
    assert set(pairing.ambiguous) == {"a.png", "a.jpg"}


def test_sub_folders_do_not_mix():
    pairing = pair_names(["one/a.png", "two/a.png"], ["one/a.png"], "same-name")
    assert pairing.pairs == (("one/a.png", "one/a.png"),)
    assert pairing.unmatched == ("two/a.png",)


@pytest.mark.parametrize("expression", [r"out-(\d+)-.*", r"(?P<tag>out)-(?P<target>\d+)-.*"])
def test_regular_expression_names_the_target(expression):
    pairing = pair_names(["out-7-dcp.png", "readme.png"], ["7.png"], f"regex:{expression}")
    assert pairing.pairs == (("out-7-dcp.png", "7.png"),)
    assert pairing.unmatched == ("readme.png",)


@pytest.mark.parametrize(
    ("rule", "words"),
    [("rseide", "no pairing rule"), ("regex:(", "not a regular expression"), ("regex:a+", "no group")],
)
def test_wrong_rules_are_refused(rule, words):
    with pytest.raises(UsageError, match=words):
        parse_rule(rule)


def test_detection_refuses_what_no_rule_fits():
    with pytest.raises(UsageError, match="regex:EXPRESSION"):
        pair_names(["foo.png"], ["bar.png"])


def test_detection_refuses_rules_that_disagree():
    with pytest.raises(UsageError, match="same-name and reside"):
        pair_names(["a_1.png"], ["a_1.png", "a.png"])


STEMS = st.from_regex(r"[a-z0-9]{1,3}(_[a-z0-9]{1,2}){0,2}", fullmatch=True)


@given(
    st.lists(STEMS, min_size=1, max_size=8, unique=True),
    st.lists(STEMS, min_size=1, max_size=8, unique=True),
    st.sampled_from(["same-name", "reside", "o-haze", "regex:([a-z0-9]+)_.*"]),
)
def test_nothing_is_lost_or_counted_twice(results, targets, rule):
    results, targets = [f"{stem}.png" for stem in results], [f"{stem}.jpg" for stem in targets]
    pairing = pair_names(results, targets, rule)
    seen = [result for result, _ in pairing.pairs] + list(pairing.unmatched) + list(pairing.ambiguous)
    assert sorted(seen) == sorted(results)
    assert {target for _, target in pairing.pairs} | set(pairing.unused) == set(targets)


@given(st.lists(STEMS, min_size=1, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_order_of_the_names_does_not_matter(stems, random):
    results = [f"{stem}.png" for stem in stems]
    targets = sorted({stem.split("_")[0] + ".png" for stem in stems})
    shuffled = list(results)
    random.shuffle(shuffled)
    assert pair_names(results, targets, "reside") == pair_names(shuffled, targets, "reside")


def test_listing_is_recursive_sorted_and_says_what_it_passed_over(tmp_path):
    for name in ("b.PNG", "a.jpg", "sub/c.png", "notes.txt", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    listing = list_pictures(tmp_path, {".png", ".jpg"})
    assert listing.names == ("a.jpg", "b.PNG", "sub/c.png")
    assert listing.ignored == ("notes.txt",)


def test_listing_refuses_no_folder_and_no_picture(tmp_path):
    with pytest.raises(UsageError, match="not a folder"):
        list_pictures(tmp_path / "nowhere", {".png"})
    with pytest.raises(UsageError, match="no picture"):
        list_pictures(tmp_path, {".png"})
