"""The channel to a page, spoken to as a browser does; the page is in the contract battery."""

import json
import shutil
import threading
import urllib.error
import urllib.request

import pytest

from todm.core.errors import ArtifactError
from todm.runtimes import ort_web
from todm.runtimes.ort_web import JS, PageChannel


@pytest.fixture
def channel(tmp_path):
    (tmp_path / "contract.json").write_text("{}", "utf-8")
    nothing = shutil.which("true")
    return PageChannel({"js": JS, "bundle": tmp_path}, nothing, "a bundle in a browser")


def get(channel, path):
    with urllib.request.urlopen(channel.address + path, timeout=30) as response:
        return response.status, response.headers, response.read()


def post(channel, answer):
    request = urllib.request.Request(
        channel.address + "answer", data=json.dumps(answer).encode(), method="POST"
    )
    urllib.request.urlopen(request, timeout=30).close()


def asked(channel, found, **request):
    thread = threading.Thread(target=lambda: found.append(channel.ask(request)))
    thread.start()
    return thread


def test_a_request_is_handed_out_until_it_is_answered(channel):
    found = []
    thread = asked(channel, found, op="stream")
    first, again = (json.loads(get(channel, "ask")[2]) for _ in range(2))
    assert first == again == {"op": "stream", "number": 1}
    post(channel, {"stream": 7, "number": 1})
    thread.join(30)
    assert found == [{"stream": 7}]
    # a repeated answer of an earlier request is none of the next
    thread = asked(channel, found, op="finish")
    assert json.loads(get(channel, "ask")[2])["number"] == 2
    post(channel, {"stream": 7, "number": 1})
    assert thread.is_alive()
    post(channel, {"ids": [], "number": 2})
    thread.join(30)
    assert found[1] == {"ids": []}


def test_only_the_files_of_the_folders_are_served(channel):
    status, headers, page = get(channel, "")
    assert status == 200
    assert b"todm_web.mjs" in page
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert get(channel, "bundle/contract.json")[2] == b"{}"
    for path in ("bundle/../secret", "bundle/none.onnx", "etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(channel, path)


def test_a_browser_that_loads_nothing_is_one_line(channel, monkeypatch):
    monkeypatch.setattr(ort_web, "_START_S", 0.1)
    with pytest.raises(ArtifactError, match="a browser: the browser did not load the page"):
        channel.ask({"op": "open"})
