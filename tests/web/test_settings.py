"""What an operator may choose, and what is refused before anything listens."""

import pytest

from unhaze.errors import UsageError
from unhaze.web.settings import ServeSettings, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    assert ServeSettings(host=host).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "127.0.0.1.evil.test"])
def test_every_other_address_needs_one(host):
    with pytest.raises(UsageError, match="token is needed"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, no_auth=True).host == host
    assert ServeSettings(host=host, token="x" * 16).token == "x" * 16


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token": "short"}, "at least 16"),
        ({"allow_origins": ("*",)}, "no origin"),
        ({"allow_origins": ("https://example.org/",)}, "no origin"),
        ({"allow_hosts": ("*.example.org",)}, "no host name"),
        ({"allow_hosts": ("example.org:80",)}, "no host name"),
        ({"port": 70000}, "from 0 to 65535"),
        ({"queue": 0}, "more than 0"),
        ({"max_seconds": -1.0}, "more than 0"),
    ],
)
def test_what_cannot_work_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        ServeSettings(**given)


def test_the_token_is_not_shown():
    assert "x" * 16 not in repr(ServeSettings(token="x" * 16))


def test_hosts_that_are_answered():
    assert ServeSettings(host="::", no_auth=True, allow_hosts=("Example.org",)).known_hosts == {
        *("localhost", "127.0.0.1", "[::1]", "[::]", "example.org")
    }
