"""Tests for segnet_jax/demo/server.py."""

import re
import threading

import pytest

pytest.importorskip("fastapi", reason="FastAPI comes with requirements-demo.txt")
pytest.importorskip("httpx2", reason="the test client needs httpx2")

from fastapi.testclient import TestClient  # noqa: E402

from segnet_jax.demo.guard import HEADERS  # noqa: E402
from segnet_jax.demo.network import PAGE, DemoNetwork  # noqa: E402
from segnet_jax.demo.server import Limits, make_app  # noqa: E402
from segnet_jax.errors import InputError  # noqa: E402
from tests.helpers.demo_networks import StubNetwork, encoded, make_segmenter, random_image  # noqa: E402

LIMITS = Limits(max_bytes=1000, seconds=20, waiting=0)


def client_of(network, limits=LIMITS):
    return TestClient(make_app(network, limits), base_url="http://127.0.0.1:8000")


@pytest.fixture
def stub():
    """A network that does not wait."""
    network = StubNetwork()
    network.gate.set()
    return network


def sentence(answer, status):
    """Returns the sentence of an answer of this status, and nothing else is in it."""
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


def test_segment_answers_as_the_network(small_example):
    network = DemoNetwork(make_segmenter(), samples=0, max_pixels=10_000)
    client = client_of(network, Limits(10_000, 60, 0))
    file = encoded(random_image(16, 24))
    answer, expected = client.post("/segment", content=file).json(), network.segment(file)
    assert answer | {"seconds": 0} == expected | {"seconds": 0}
    assert client.get("/network").json() == network.describe() | {"max_bytes": 10_000}
    assert "The file is not an image" in sentence(client.post("/segment", content=b"text"), 422)


def test_segment_passes_the_wish_for_uncertainty_on(stub):
    client = client_of(stub)
    assert client.post("/segment?uncertainty=true", content=b"abc").json() == {"bytes": 3, "uncertainty": True}
    assert client.post("/segment", content=b"abc").json() == {"bytes": 3, "uncertainty": False}


def test_segment_refuses_files_above_the_bound_whether_they_say_their_size_or_not(stub):
    client = client_of(stub)
    assert client.post("/segment", content=bytes(1000)).json()["bytes"] == 1000
    assert client.post("/segment", content=iter([bytes(500)] * 2)).json()["bytes"] == 1000
    stub.started.clear()
    for content in (bytes(1001), iter([bytes(500)] * 3)):
        assert "larger than 0.001 MB" in sentence(client.post("/segment", content=content), 413)
    assert not stub.started.is_set()


def test_segment_refuses_while_all_places_are_taken():
    network = StubNetwork()
    client = client_of(network)
    answers = []
    other = threading.Thread(target=lambda: answers.append(client.post("/segment", content=b"abc")))
    other.start()
    assert network.started.wait(20)
    assert "Too many pictures wait" in sentence(client.post("/segment", content=b"abc"), 503)
    assert client.get("/network").status_code == 200
    network.gate.set()
    other.join()
    assert answers[0].json()["bytes"] == 3
    assert client.post("/segment", content=b"abc").status_code == 200


def test_segment_gives_up_after_its_time():
    network = StubNetwork()
    client = client_of(network, Limits(max_bytes=1000, seconds=0.1, waiting=0))
    assert "took longer than 0.1 s" in sentence(client.post("/segment", content=b"abc"), 504)
    network.gate.set()


def test_segment_says_what_the_user_can_put_right_and_nothing_of_other_errors(stub, caplog):
    client = client_of(stub)
    stub.error = InputError("The file is empty.")
    assert sentence(client.post("/segment", content=b"abc"), 422) == "The file is empty."
    stub.error = ValueError("a secret of /home")
    assert "the server's terminal says why" in sentence(client.post("/segment", content=b"abc"), 500)
    assert "a secret of /home" in caplog.text


def test_guard_holds_for_every_path_and_its_headers_are_in_every_answer(stub):
    client = client_of(stub)
    for path in ("/", "/page.js", "/network", "/nothing"):
        assert "only at the address" in sentence(client.get(path, headers={"host": "evil.example"}), 403)
    assert "from another site" in sentence(
        client.post("/segment", content=b"abc", headers={"origin": "http://evil.example"}), 403
    )
    assert not stub.started.is_set()
    answers = [client.get(path) for path in ("/", "/page.js", "/network", "/nothing")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404]
    answers += [client.post("/segment", content=bytes(1001)), client.get("/", headers={"host": "evil.example"})]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert HEADERS["Content-Security-Policy"].startswith("default-src 'self';")


def test_make_app_serves_nothing_but_the_page(stub):
    client = client_of(stub)
    for path in ("/docs", "/redoc", "/openapi.json", "/../server.py", "/%2e%2e/server.py", "/examples/"):
        assert client.get(path).status_code == 404


def test_page_loads_only_its_own_files(stub):
    client = client_of(stub)
    html = client.get("/").text
    names = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert {"page.js", "page.css", "icon.svg"} == set(names)
    modules = [path.name for path in PAGE.glob("*.js")]
    for name in modules:
        names += re.findall(r'from "\./([^"]+)"', (PAGE / name).read_text())
    assert all(client.get(f"/{name}").status_code == 200 for name in names)
    assert set(modules) <= set(names)
    assert not any(re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text()) for path in PAGE.glob("*.*"))
    assert not re.search(r"<style|style=|<script>|\son\w+=", html)  # which the policy would forbid
