"""``unhaze serve`` before it serves; what it does then is in ``tests/web``."""

import builtins

import pytest

from unhaze.cli.serve import TOKEN_VARIABLE

pytest.importorskip("fastapi")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "a token is needed"),
        (["--token-file", "missing"], "cannot be read"),
        (["--strength", "7"], "strength is 7.0"),
        (["--model", "dehazeformer-b"], "needs weights and is not served"),
        (["--model", "dcpp"], "did you mean dcp"),
        (["--max-pixels", "x"], "no count"),
        (["--max-bytes", "-1"], "not a memory size"),
        (["--engine", "abacus"], "must be one of"),
        (["--engine", "auto", "--allow-origin", "*"], "is no origin"),
    ],
)
def test_mistakes_are_found_at_once(unhaze, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = unhaze("serve", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_token_file_is_read(unhaze, tmp_path):
    (tmp_path / "token").write_text("short\n")
    assert "at least 16" in unhaze("serve", "--host", "0.0.0.0", "--token-file", tmp_path / "token").stderr
    (tmp_path / "token").write_text("\n")
    assert "is empty" in unhaze("serve", "--token-file", tmp_path / "token").stderr
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    assert "it is no text" in unhaze("serve", "--token-file", tmp_path / "token").stderr


def test_a_token_of_the_environment_counts(unhaze, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    assert "at least 16" in unhaze("serve").stderr


def test_without_the_extra_it_says_what_to_install(unhaze, monkeypatch):
    import sys

    real = builtins.__import__

    def importing(name, *rest):
        if name.startswith(("fastapi", "uvicorn")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("unhaze.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)
    done = unhaze("serve")
    assert done.exit_code == 3
    assert "pip install 'unhaze[serve]'" in done.stderr
