import json

from unhaze.inference.methods import list_methods, method_info


def test_list_names_every_method_with_its_summary(unhaze):
    result = unhaze("methods", "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list_methods()
    assert all(method_info(name).summary in line for name, line in zip(list_methods(), lines, strict=True))
    assert sum("(default)" in line for line in lines) == 1


def test_list_as_json(unhaze):
    reported = json.loads(unhaze("methods", "list", "--json").stdout)
    assert [entry["name"] for entry in reported] == list_methods()


def test_info_reports_where_a_method_comes_from(unhaze):
    result = unhaze("methods", "info", "dcp")
    assert result.exit_code == 0
    assert method_info("dcp").paper in result.stdout
    assert method_info("dcp").url in result.stdout
    assert json.loads(unhaze("methods", "info", "dcp", "--json").stdout)["name"] == "dcp"


def test_an_unknown_method_names_near_ones(unhaze):
    result = unhaze("methods", "info", "dpc")
    assert result.exit_code == 2
    assert "did you mean dcp" in result.stderr
