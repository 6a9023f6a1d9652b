import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unhaze.batch import _names
from unhaze.batch.planning import Found, Planner, Shard, plan
from unhaze.errors import ImageDecodeError, OutputError, UnknownNameError, UsageError


def make(path, size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path)
    return path


def names(jobs, base):
    """Output of each input, relative to ``base``; the class of the error where there is none."""
    return {
        job.source.relative_to(base).as_posix(): type(job.error).__name__
        if job.error
        else job.skip or job.output.relative_to(base).as_posix()
        for job in jobs
    }


# -- finding ----------------------------------------------------------------------------------------------------------


def test_a_tree_is_mirrored_in_a_fixed_order_without_what_is_no_picture(tmp_path):
    for name in ("in/b.png", "in/a.jpg", "in/z/c.png", "in/m/d.png", "in/.hidden.png", "in/.git/e.png"):
        make(tmp_path / name)
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "in/film.mp4").write_bytes(b"no picture")
    (tmp_path / "in/x.png.1a2b.part").write_bytes(b"left over")
    jobs = plan([tmp_path / "in"], output=tmp_path / "out")
    assert list(names(jobs, tmp_path).items()) == [
        ("in/a.jpg", "out/a.jpg"),
        ("in/b.png", "out/b.png"),
        ("in/m/d.png", "out/m/d.png"),
        ("in/z/c.png", "out/z/c.png"),
    ]
    assert all(job.ready for job in jobs)
    assert jobs[0].info.width == 4


def test_no_recursive_stays_in_the_folder(tmp_path):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/sub/b.png")
    assert names(plan([tmp_path / "in"], recursive=False), tmp_path) == {"in/a.png": "in/a-dehazed.png"}


def test_several_inputs_keep_the_names_of_their_folders_apart(tmp_path):
    for name in ("one/a.png", "two/a.png", "c.png"):
        make(tmp_path / name)
    jobs = plan([tmp_path / "one", tmp_path / "two", tmp_path / "c.png"], output=tmp_path / "out")
    assert names(jobs, tmp_path) == {"one/a.png": "out/one/a.png", "two/a.png": "out/two/a.png", "c.png": "out/c.png"}


def test_a_pattern_is_expanded_and_its_tree_mirrored(tmp_path):
    for name in ("in/a.png", "in/k/b.png", "in/k/c.jpg", "in/.h/d.png"):
        make(tmp_path / name)
    jobs = plan([f"{tmp_path}/in/**/*.png"], output=tmp_path / "out")
    assert names(jobs, tmp_path) == {"in/a.png": "out/a.png", "in/k/b.png": "out/k/b.png"}


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    make(tmp_path / "a[1].png")
    assert names(plan([tmp_path / "a[1].png"]), tmp_path) == {"a[1].png": "a[1]-dehazed.png"}


def test_an_input_given_twice_is_done_once(tmp_path):
    make(tmp_path / "in/a.png")
    jobs = plan([tmp_path / "in", tmp_path / "in/../in/a.png", f"{tmp_path}/in/*.png"])
    assert len(jobs) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone.jpg", "does not exist"),
        ("gone-*.jpg", "matches no file"),
        ("notes.txt", "notes.txt"),
        ("a\0b.jpg", "does not exist"),
    ],
)
def test_inputs_that_are_no_pictures_fail_alone(tmp_path, name, sentence):
    (tmp_path / "notes.txt").write_text("no picture")
    make(tmp_path / "good.png")
    bad, good = plan([f"{tmp_path}/{name}", f"{tmp_path}/good.png"])
    assert good.ready
    assert sentence in str(bad.error)
    assert str(bad.error).count("\n") == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (job,) = plan([tmp_path / "a.jpg"])
    assert "not a regular file" in str(job.error)
    assert plan([tmp_path]) == []


def test_a_folder_that_cannot_be_read_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    make(tmp_path / "in/a.png")
    locked = tmp_path / "in/locked"
    make(locked / "b.png")
    scandir = os.scandir

    def guarded(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    jobs = plan([tmp_path / "in"])
    assert names(jobs, tmp_path) == {"in/a.png": "in/a-dehazed.png", "in/locked": "ImageDecodeError"}
    assert "folder" in str(jobs[1].error)
    assert "Permission denied" in str(jobs[1].error)


def test_linked_folders_do_not_lead_round_in_circles(tmp_path):
    make(tmp_path / "in/a.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    assert len(plan([tmp_path / "in"])) == 1


@pytest.mark.parametrize("inputs", ["in", "in/*.png", "in/**/*"])
def test_links_that_lead_nowhere_or_in_circles_fail_and_the_rest_goes_on(tmp_path, inputs):
    make(tmp_path / "in/a.png")
    make(tmp_path / "elsewhere.png")
    (tmp_path / "in/good.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "in/round.png").symlink_to(tmp_path / "in/round.png")
    (tmp_path / "in/folder.png").symlink_to(tmp_path)
    (tmp_path / "in/gone.txt").symlink_to(tmp_path / "nowhere.txt")
    jobs = {job.source.name: job for job in plan([tmp_path / inputs])}
    assert jobs.keys() == {"a.png", "good.png", "gone.png", "round.png"}
    assert [job.source.name for job in jobs.values() if job.ready] == ["a.png", "good.png"]
    for name in ("gone.png", "round.png"):
        assert isinstance(jobs[name].error, ImageDecodeError)
        assert f"{name} leads nowhere (" in str(jobs[name].error)


# -- our own products -------------------------------------------------------------------------------------------------


def test_own_products_are_not_picked_up_again(tmp_path):
    for name in ("a.png", "a-dehazed.png", "a-compare.jpg", "a-depth.png", "gone-dehazed.png", "fog-depth.png"):
        make(tmp_path / name)
    jobs = plan([tmp_path], existing="overwrite")
    assert names(jobs, tmp_path) == {"a.png": "a-dehazed.png", "fog-depth.png": "fog-depth-dehazed.png"}


def test_into_another_folder_a_name_alone_makes_no_product(tmp_path):
    for name in ("in/a.png", "in/a-dehazed.png", "in/gone-dehazed.png"):
        make(tmp_path / name)
    jobs = plan([tmp_path / "in"], output=tmp_path / "out")
    assert set(names(jobs, tmp_path)) == {"in/a.png", "in/gone-dehazed.png"}


def test_an_output_folder_inside_the_input_is_not_walked(tmp_path):
    make(tmp_path / "a.png")
    make(tmp_path / "out/a.png")
    jobs = plan([tmp_path], output=tmp_path / "out", existing="overwrite")
    assert names(jobs, tmp_path) == {"a.png": "out/a.png"}


def test_a_product_named_by_the_user_is_done(tmp_path):
    make(tmp_path / "a-dehazed.png")
    assert names(plan([tmp_path / "a-dehazed.png"]), tmp_path) == {"a-dehazed.png": "a-dehazed-dehazed.png"}


# -- names of outputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("a.JPG", {}, "a-dehazed.JPG"),
        ("a.jpeg", {"format": "jpeg"}, "a-dehazed.jpeg"),
        ("a.tiff", {}, "a-dehazed.tiff"),
        ("a.jpg", {"format": "png"}, "a-dehazed.png"),
        ("a.b.jpg", {"suffix": "_clear"}, "a.b_clear.jpg"),
        ("a.jpg", {"output": "out"}, "out/a.jpg"),
        ("a.jpg", {"output": "out", "suffix": "-x", "format": "webp"}, "out/a-x.webp"),
        ("a.jpg", {"output": "best.png"}, "best.png"),
        ("a.jpg", {"output": "v1.2"}, "v1.2/a.jpg"),
        ("a.gif", {}, "a-dehazed.png"),
    ],
)
def test_name_of_the_output(tmp_path, source, options, expected):
    make(tmp_path / source)
    options = {key: str(tmp_path / value) if key == "output" else value for key, value in options.items()}
    assert names(plan([tmp_path / source], **options), tmp_path) == {source: expected}


def test_a_wrong_ending_becomes_a_right_one(tmp_path):
    make(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert names(plan([tmp_path / "a.jpg"]), tmp_path) == {"a.jpg": "a-dehazed.png"}


def test_side_products_are_named_after_the_input_or_the_chosen_name(tmp_path):
    make(tmp_path / "a.jpg")
    (job,) = plan([tmp_path / "a.jpg"], sides=["compare", "depth"])
    assert [path.name for path in job.products] == ["a-dehazed.jpg", "a-compare.jpg", "a-depth.png"]
    (job,) = plan([tmp_path / "a.jpg"], sides=["compare"], output=tmp_path / "best.png")
    assert [path.name for path in job.products] == ["best.png", "best-compare.jpg"]


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        (["a.png"], {"suffix": ""}, "empty suffix"),
        (["a.png"], {"suffix": "x/y"}, "slashes"),
        (["a.png", "b.png"], {"output": "c.png"}, "several inputs"),
        (["."], {"output": "c.png"}, "several inputs"),
        (["*.png"], {"output": "c.png"}, "several inputs"),
        (["."], {"output": "."}, "input and output folder at once"),
        (["a.png"], {"output": "c.heic"}, "no writer"),
        (["a.png"], {"output": "c.png", "format": "jpeg"}, "leave out one"),
        (["a.png"], {"output": "notes"}, "no picture"),
        (["a.png"], {"format": "jpgg"}, "did you mean jpeg"),
        (["a.png"], {"sides": ["dept"]}, "did you mean depth"),
    ],
)
def test_options_that_cannot_work_are_usage_errors(tmp_path, monkeypatch, inputs, options, sentence):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    (tmp_path / "notes").write_text("text")
    with pytest.raises(UsageError, match=sentence):
        plan(inputs, **options)


def test_unknown_formats_are_unknown_names():
    with pytest.raises(UnknownNameError):
        Planner(["a.png"], format="bmpp")


# -- nothing is lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disguise", ["same", "symlink", "hardlink", "linked folder"])
def test_an_output_that_is_its_input_is_refused(tmp_path, disguise):
    source = make(tmp_path / "in/a.png")
    output = tmp_path / "out/a.png"
    if disguise == "same":
        output = source
    elif disguise == "linked folder":
        (tmp_path / "out").symlink_to(tmp_path / "in")
    else:
        output.parent.mkdir()
        output.symlink_to(source) if disguise == "symlink" else output.hardlink_to(source)
    (job,) = plan([source], output=output, existing="overwrite")
    assert isinstance(job.error, OutputError)
    assert "its own output" in str(job.error)


def test_an_output_that_is_another_input_is_refused(tmp_path):
    make(tmp_path / "a.png")
    make(tmp_path / "a-dehazed.png")
    first, second = plan([tmp_path / "a.png", tmp_path / "a-dehazed.png"], existing="overwrite")
    assert "the output of" in str(first.error)
    assert second.ready


@pytest.mark.parametrize("order", [1, -1])
def test_files_of_one_folder_that_compete_for_a_name_take_their_endings_into_it(tmp_path, order):
    sources = [make(tmp_path / name) for name in ("a.jpg", "a.png", "b.png", "c.bmp", "c.tif")]
    jobs = plan(sources[::order], format="jpeg")
    assert names(jobs, tmp_path) == {
        "a.jpg": "a-dehazed.jpg",
        "a.png": "a-png-dehazed.jpg",
        "b.png": "b-dehazed.jpg",
        "c.bmp": "c-dehazed.jpg",
        "c.tif": "c-tif-dehazed.jpg",
    }
    reported = {job.source.name: job.note for job in jobs if job.note}
    assert set(reported) == {"a.png", "c.tif"}
    assert reported["a.png"] == "named a-png-dehazed.jpg, because a-dehazed.jpg is the name for a.jpg"


def test_a_name_with_an_ending_in_it_avoids_files_that_have_that_name(tmp_path):
    for name in ("in/a.jpg", "in/a.png", "in/a-png.jpg"):
        make(tmp_path / name)
    jobs = plan([tmp_path / "in"], output=tmp_path / "out", format="jpeg")
    assert names(jobs, tmp_path) == {
        "in/a-png.jpg": "out/a-png.jpg",
        "in/a.jpg": "out/a.jpg",
        "in/a.png": "out/a-png-2.jpg",
    }


def test_inputs_of_several_folders_with_one_output_fail_and_only_they(tmp_path):
    for name in ("one/a.jpg", "two/a.jpg", "two/b.jpg"):
        make(tmp_path / name)
    jobs = plan([tmp_path / name for name in ("one/a.jpg", "two/a.jpg", "two/b.jpg")], output=tmp_path / "out")
    assert [job.ready for job in jobs] == [False, False, True]
    for job in jobs[:2]:
        assert "one/a.jpg" in str(job.error)
        assert "two/a.jpg" in str(job.error)


def test_side_products_compete_too_and_are_not_taken_for_pictures_later(tmp_path):
    make(tmp_path / "a.jpg")
    make(tmp_path / "a.png")
    assert [job.note for job in plan([tmp_path])] == [None, None]
    for _ in range(2):
        jobs = plan([tmp_path], sides=["compare"], existing="overwrite")
        assert [[path.name for path in job.products] for job in jobs] == [
            ["a-dehazed.jpg", "a-compare.jpg"],
            ["a-png-dehazed.png", "a-png-compare.jpg"],
        ]
        for job in jobs:
            for path in job.products:
                make(path)


# -- parts and lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_the_parts_are_all_do_not_overlap_and_are_about_equal(count):
    found = [Found(Path(f"in/IMG_{index:04}.jpg"), Path("sub")) for index in range(2000)]
    parts = [[item for item in found if Shard(number, count).holds(item)] for number in range(1, count + 1)]
    assert sorted(map(str, found)) == sorted(str(item) for part in parts for item in part)
    assert max(map(len, parts)) < 1.3 * 2000 / count


def test_a_part_depends_on_the_name_below_the_folder_alone():
    shards = [Shard(number, 7) for number in range(1, 8)]

    def part(source, below=""):
        (number,) = (shard.number for shard in shards if shard.holds(Found(Path(source), Path(below))))
        return number

    assert part("/mnt/one/sub/a.jpg", "sub") == part("/media/two/sub/A.HEIC", "sub")
    assert part("in/\u00fc.jpg") == part("in/u\u0308.jpg")
    assert len({part(f"in/{index}.jpg") for index in range(100)}) == 7
    assert part("in/a.jpg") == 3, "machines with other versions must agree"


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/3/5"])
def test_a_part_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match="for example 1/3"):
        Shard.parse(text)


def test_an_input_of_another_part_is_not_written_to(tmp_path):
    sources = [make(tmp_path / "a.png"), make(tmp_path / "a-dehazed.png")]
    for number in range(1, 6):
        for job in plan(sources, existing="overwrite", shard=Shard(number, 5)):
            assert job.ready == (job.source == sources[1])


def test_a_listed_file_keeps_its_folders_unless_they_lead_outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cards/1/a.png", "cards/2/a.png", "b[1].png", "c.png"):
        make(tmp_path / name)
    listed = ["cards/1/a.png", "cards/2", "b[1].png", tmp_path / "c.png", "cards/../cards/1/a.png", "*.png"]
    jobs = plan([], listed=listed, output="out")
    assert [job.output.as_posix() for job in jobs if job.ready] == [
        "out/cards/1/a.png",
        "out/cards/2/a.png",
        "out/b[1].png",
        "out/c.png",
    ]
    assert "*.png does not exist" in str(jobs[-1].error)


# -- file systems and outputs that exist ------------------------------------------------------------------------------


@pytest.mark.parametrize("ignores_case", [False, True])
def test_names_that_differ_in_case_collide_where_the_file_system_ignores_it(tmp_path, monkeypatch, ignores_case):
    make(tmp_path / "one/A.png")
    make(tmp_path / "two/a.png")
    monkeypatch.setattr(Path, "samefile", lambda *_: ignores_case)
    jobs = plan([tmp_path / "one/A.png", tmp_path / "two/a.png"], output=tmp_path / "out")
    assert [job.ready for job in jobs] == [not ignores_case] * 2


def test_this_file_system_distinguishes_case_or_not_as_a_probe_says(tmp_path):
    (tmp_path / "Probe").write_text("")
    names, folder = _names.Names(lambda _: None), tmp_path / "new" / "folder"
    assert (names.key(folder / "a.png") == names.key(folder / "A.png")) == (tmp_path / "pROBE").exists()


@pytest.mark.parametrize(
    ("existing", "ready", "overwrite"), [("error", False, False), ("skip", False, False), ("overwrite", True, True)]
)
def test_outputs_that_exist(tmp_path, existing, ready, overwrite):
    make(tmp_path / "a.png")
    make(tmp_path / "a-dehazed.png")
    (job,) = plan([tmp_path / "a.png"], existing=existing)
    assert (job.ready, job.overwrite) == (ready, overwrite)
    assert (job.error is None, job.skip is None) == (existing != "error", existing != "skip")
    if job.error:
        assert "--overwrite" in str(job.error)


def test_a_side_product_of_a_run_cut_short_does_not_make_an_input_done(tmp_path):
    make(tmp_path / "a.png")
    make(tmp_path / "a-compare.jpg")
    (job,) = plan([tmp_path / "a.png"], existing="skip", sides=["compare"])
    assert job.ready
    assert job.overwrite
    (job,) = plan([tmp_path / "a.png"], sides=["compare"])
    assert isinstance(job.error, OutputError)


def test_a_dangling_link_counts_as_an_output_that_exists(tmp_path):
    make(tmp_path / "a.png")
    (tmp_path / "a-dehazed.png").symlink_to(tmp_path / "nowhere.png")
    assert isinstance(plan([tmp_path / "a.png"])[0].error, OutputError)


def test_a_function_can_decide_on_each_output(tmp_path):
    for name in ("a.png", "a-dehazed.png", "b.png", "b-dehazed.png"):
        make(tmp_path / name)
    planner = Planner([tmp_path], existing=lambda source, _: "skip" if source.name == "a.png" else "overwrite")
    first, second = planner.jobs(planner.find())
    assert first.skip
    assert second.overwrite


def test_a_damaged_header_is_found_while_planning(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (job,) = plan([tmp_path])
    assert isinstance(job.error, ImageDecodeError)
