"""Python's requests through the proxy: python3 with_requests.py SCENARIO URL."""

import sys

import requests

# The same bytes as `pattern` in m_real_clients.rs.
PATTERN = bytes(range(251))


def turns(url):
    """Two backends in strict turn, over one kept connection and over a fresh one for each request."""
    with requests.Session() as session:
        kept = [session.get(url).text for _ in range(100)]
        pools = session.get_adapter(url).poolmanager.pools
        connections = [pools[key].num_connections for key in pools.keys()]
        assert connections == [1], connections
    assert kept == ["1", "2"] * 50, kept
    fresh = [requests.get(url).text for _ in range(100)]
    assert fresh == ["1", "2"] * 50, fresh


def upload(url):
    """A generator has no length, so its body goes out in chunks; the backend sends it back."""
    parts = [PATTERN * n for n in range(1, 200)]
    answer = requests.post(url, data=iter(parts))
    assert answer.headers["X-Framing"] == "Chunked", answer.headers
    assert answer.content == b"".join(parts)


def download(url):
    """A body that is read in pieces."""
    with requests.get(url, stream=True) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked", answer.headers
        body = b"".join(answer.iter_content(10_000))
    assert body == PATTERN * 20_000, len(body)


def large_fields(url):
    """A large cookie and many other fields pass; the backend sends them back."""
    fields = {f"X-Field-{n}": f"{n} " + "x" * 250 for n in range(80)}
    fields["Cookie"] = "session=" + "c" * 20_000
    answer = requests.get(url, headers=fields)
    assert answer.status_code == 200, answer.text
    for name, value in fields.items():
        assert answer.headers[f"Back-{name}"] == value, name


def redirects(url):
    """Relative and absolute locations lead back through the proxy, and after a 307 the body is sent again."""
    with requests.Session() as session:
        for path in "/relative", "/absolute":
            answer = session.get(url + path)
            assert [step.status_code for step in answer.history] == [302], answer.history
            assert (answer.url, answer.text) == (url + "/target", "GET "), (answer.url, answer.text)
        answer = session.post(url + "/again", data="body")
        assert [step.status_code for step in answer.history] == [307], answer.history
        assert (answer.url, answer.text) == (url + "/target", "POST body"), (answer.url, answer.text)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
