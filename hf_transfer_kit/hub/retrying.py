"""Asking the Hub again when it stumbles, and one sentence when it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session, hf_raise_for_status

from hf_transfer_kit.compat import http_client
from hf_transfer_kit.errors import HubError, first_line
from hf_transfer_kit.logs import get_logger

T = TypeVar("T")
_CONCURRENT = (409, 412)  # somebody else's commit came in between
_PASSING = (408, 429, 500, 502, 503, 504, *_CONCURRENT)
_LONGEST_WAIT = 60.0
_LONGEST_ASKED_WAIT = 300.0


def with_retries(
    ask: Callable[[], T],
    *,
    about: str,
    retries: int = 5,
    wait: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What ``ask`` returns, tried again after faults that pass: 429, 408, 5xx, connections that break, and 409 and 412,
    when somebody else's commit came in between.

    The n-th wait is ``wait * 2**n`` seconds, at most a minute, or what the Hub's Retry-After asks for, which is told.
    Where it asks for more than five minutes, these are waited for once, and then it is given up. Parts of
    ``huggingface_hub`` have such a loop of their own, in which up to five minutes are waited for here; making a
    repository, the check of the card and the commit have none.

    Args:
        ask: Calls the Hub; it may be called again after any of its steps.
        about: The repository, for sentences.
        retries: Further tries, at least 0.
        wait: Seconds before the first of them.
        sleep: Waits.

    Raises:
        HubError: When the Hub refuses, or after the last try; the sentence says what to do.
    """
    waited_longest = False
    for attempt in range(retries + 1):
        try:
            with _long_waits_raised():
                return ask()
        except (http_client().HTTPError, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, HubError):
                raise
            cause = _cause(error)
            asked = _asked_wait(cause)
            too_long = asked is not None and asked > _LONGEST_ASKED_WAIT
            if attempt == retries or not _passes(cause) or (too_long and waited_longest):
                raise HubError(_sentence(cause, about, attempt + 1)) from error
            waited_longest = waited_longest or too_long
            if asked:
                _tell_wait(asked, about)
            sleep(min(asked, _LONGEST_ASKED_WAIT) if asked else min(wait * 2**attempt, _LONGEST_WAIT))
    raise AssertionError("unreachable")


@contextmanager
def _long_waits_raised() -> Iterator[None]:
    """Answers that ask for more than the longest wait raise at once, where huggingface_hub would sleep as long."""
    session = get_session()
    before = session.event_hooks

    def raise_long_waits(response: Any) -> None:
        asked = _seconds(response.headers.get("Retry-After", ""))
        if response.status_code in _PASSING and asked is not None and asked > _LONGEST_ASKED_WAIT:
            response.read()
            hf_raise_for_status(response)

    session.event_hooks = {**before, "response": [*before.get("response", []), raise_long_waits]}
    try:
        yield
    finally:
        session.event_hooks = before


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _cause(error: BaseException) -> BaseException:
    """The answer or the broken connection behind an error: huggingface_hub wraps those of single files."""
    known = (HfHubHTTPError, http_client().TransportError, json.JSONDecodeError)
    return next((found for found in _chain(error) if isinstance(found, known)), error)


def _status(error: BaseException) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None


def _passes(error: BaseException) -> bool:
    # A gateway's page of HTML in place of an answer is read as JSON in vain.
    return _status(error) in _PASSING or isinstance(error, (http_client().TransportError, json.JSONDecodeError))


def _asked_wait(error: BaseException) -> float | None:
    """Seconds that the Hub asks to wait, which it says as such or as a time of day."""
    return _seconds(cast(Any, error).response.headers.get("Retry-After", "")) if _status(error) else None


def _seconds(asked: str) -> float | None:
    """A Retry-After as seconds from now."""
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        at = parsedate_to_datetime(asked)
    except (TypeError, ValueError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _tell_wait(asked: float, about: str) -> None:
    limit = f"; {_LONGEST_ASKED_WAIT:.0f} s are waited for" if asked > _LONGEST_ASKED_WAIT else ""
    get_logger(__name__).warning("The Hub asks to wait %.0f s before %s is asked for again%s.", asked, about, limit)


def _sentence(error: BaseException, about: str, tries: int) -> str:
    status = _status(error)
    if status == 401:
        return (
            f"The Hub does not know the token (401), so {about} was not reached. Log in with `hf auth login`, or set "
            "HF_TOKEN to a token that may write."
        )
    if status == 403:
        return (
            f"The token may not write to {about} (403). Take a token with the right to write, and a namespace that is "
            "yours."
        )
    if status == 404:
        return f"The Hub has no {about} that this token may see (404). Check the name and the revision."
    if status in _CONCURRENT:
        return (
            f"Somebody else's change to {about} came in between {tries} time{'s' if tries > 1 else ''} ({status}). Try "
            "again when nobody else pushes there."
        )
    if _passes(error):
        asked = _asked_wait(error) or 0.0
        if asked > _LONGEST_ASKED_WAIT:
            return (
                f"The Hub asks to wait {_duration(asked)} before {about} is asked for again ({status}). Try again then."
            )
        what = "asked to wait (429)" if status == 429 else f"answered {status}" if status else "broke the connection"
        return f"The Hub {what} {tries} time{'s' if tries > 1 else ''} while {about} was asked for. Try again later."
    return f"The Hub refused what was asked of {about}: {first_line(error)}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
