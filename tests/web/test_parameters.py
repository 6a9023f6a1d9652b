"""Options of a request are those of the command line, one table for both."""

from dataclasses import fields

import pytest
import typer

from unhaze.cli import app
from unhaze.errors import UsageError
from unhaze.restore.options import DehazeOptions, Options
from unhaze.web.parameters import dehaze_parameters, job_parameters, picture_parameters, read_wanted

# what decides about the machine, or names a file: the operator's, or nobody's
NOT_OF_A_REQUEST = {
    *("weights", "backbone_weights", "depth", "depth_weights"),
    *("engine", "device", "precision", "tile", "compile", "prompts", "max_memory", "max_pixels", "threads"),
}


def command_options(name):
    """Long names of the options of a command."""
    command = typer.main.get_command(app).resolve_command(None, [name])[1]
    context = command.make_context(name, [], resilient_parsing=True)
    return {text.removeprefix("--") for each in context.command.params for text in each.opts}


def test_every_option_of_the_table_is_a_parameter_or_named_as_none():
    table = {each.name.replace("_", "-") for each in fields(Options)}
    offered = {each["name"] for each in picture_parameters()} & table
    assert offered | {name.replace("_", "-") for name in NOT_OF_A_REQUEST} == table
    assert not offered & {name.replace("_", "-") for name in NOT_OF_A_REQUEST}


@pytest.mark.parametrize(("make", "commands"), [(dehaze_parameters, ["run"]), (job_parameters, ["run", "video"])])
def test_every_parameter_is_an_option_of_the_command(make, commands):
    known = set().union(*map(command_options, commands))
    assert {each["name"] for each in make()} <= known


@pytest.mark.parametrize("name", [each.name for each in fields(DehazeOptions)])
def test_ranges_and_defaults_are_those_of_the_table(name):
    schema = next(each["schema"] for each in picture_parameters() if each["name"] == name.replace("_", "-"))
    for value in (schema["minimum"], schema["maximum"]):
        wanted = read_wanted([(name, str(value))], Options())
        assert getattr(wanted.options, name) == value == getattr(Options(**{name: value}), name)
    for value in (schema["minimum"] - 0.001, schema["maximum"] + 0.001):
        with pytest.raises(UsageError):
            read_wanted([(name, str(value))], Options())
        with pytest.raises(UsageError):
            Options(**{name: value}).restoration(network=False)
    if "default" in schema:
        assert schema["default"] == getattr(DehazeOptions(), name)


def test_help_and_examples_stand_with_every_parameter():
    helps = {each.name.replace("_", "-"): each.metadata["help"] for each in fields(Options)}
    for each in job_parameters():
        assert each["description"] == helps.get(each["name"], each["description"])
        read_wanted([(each["name"], str(each["example"]).lower())], Options(), for_job=True)
