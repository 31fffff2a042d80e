"""Waiting for the Hub: as long as it asks, within a limit that is told; and changes of others in between."""

from email.utils import formatdate
from time import time

import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http

from hf_transfer_kit.compat import http_client
from hf_transfer_kit.errors import HubError
from hf_transfer_kit.hub import retrying
from hf_transfer_kit.hub.retrying import with_retries


class Hub:
    """Refuses the first calls, each with a status and headers, then answers."""

    def __init__(self, *refusals):
        self.refusals = list(refusals)
        self.slept = []

    def __call__(self):
        if not self.refusals:
            return "done"
        status, headers = self.refusals.pop(0)
        request = http_client().Request("POST", "https://hub/api")
        raise HfHubHTTPError("refused", response=http_client().Response(status, headers=headers, request=request))

    def ask(self, **how):
        return with_retries(self, about="me/net", sleep=self.slept.append, **how)


@pytest.fixture
def told(monkeypatch):
    """What the log said."""
    said = []

    class Logger:
        def warning(self, words, *values):
            said.append(words % values)

    monkeypatch.setattr(retrying, "get_logger", lambda name: Logger())
    return said


def test_what_the_hub_asks_for_is_waited_for_and_told(told):
    hub = Hub((429, {"Retry-After": "7"}), (503, {}), (503, {}))
    assert hub.ask() == "done"
    assert hub.slept == [7, 2, 4]
    assert told == ["The Hub asks to wait 7 s before me/net is asked for again."]


def test_a_day_is_not_slept_through(told):
    hub = Hub(*[(429, {"Retry-After": "86400"})] * 9)
    with pytest.raises(HubError, match=r"asks to wait 24 hours before me/net is asked for again \(429\)"):
        hub.ask()
    assert hub.slept == [300]
    assert told == ["The Hub asks to wait 86400 s before me/net is asked for again; 300 s are waited for."]
    assert Hub((429, {"Retry-After": "86400"})).ask() == "done"  # it may have been wrong


def test_a_time_of_day_is_read(told):
    hub = Hub((503, {"Retry-After": formatdate(time() + 40, usegmt=True)}), (503, {"Retry-After": "soon"}))
    assert hub.ask() == "done"
    assert hub.slept[0] == pytest.approx(40, abs=2)
    assert hub.slept[1] == 2


@pytest.mark.parametrize("status", [409, 412])
def test_somebody_elses_commit_is_waited_out(status):
    hub = Hub(*[(status, {})] * 3)
    assert hub.ask() == "done"
    assert hub.slept == [1, 2, 4]
    with pytest.raises(HubError, match=rf"change to me/net came in between 3 times \({status}\)"):
        Hub(*[(status, {})] * 3).ask(retries=2)


def test_a_long_wait_inside_an_upload_is_not_slept_by_the_hubs_own_loop(monkeypatch):
    def answer(request):
        return http_client().Response(429, headers={"Retry-After": "86400"}, request=request)

    def slept_by_the_hub(seconds):
        raise AssertionError(f"huggingface_hub sleeps {seconds} s")

    monkeypatch.setattr(_http.time, "sleep", slept_by_the_hub)
    session = http_client().Client(transport=http_client().MockTransport(answer))
    for module in (retrying, _http):
        monkeypatch.setattr(module, "get_session", lambda: session)
    slept = []
    with pytest.raises(HubError, match="asks to wait 24 hours"):
        with_retries(lambda: _http.http_backoff("PUT", "https://hub/part"), about="me/birds", sleep=slept.append)
    assert slept == [300.0]
    assert session.event_hooks["response"] == []
