"""Pushing a run's results to the Hub: checked before, whole or not at all, again as often as it takes."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.compat import commit_fields
from hf_transfer_kit.errors import HubError, SettingsError, TransferKitError
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.hub.adapter_alone import is_adapter_alone, stage_adapter
from hf_transfer_kit.hub.merging import merged_title
from hf_transfer_kit.hub.results import save_results
from hf_transfer_kit.hub.retrying import with_retries
from hf_transfer_kit.hub.shareable import check_figures, check_texts, checked_report, shareable_files, shared_content
from hf_transfer_kit.hub.usage import at_repository
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.reports import TransferReport

T = TypeVar("T")
logger = get_logger(__name__)


@checked_arguments()
def push_transfer_model(
    folder_or_model: str | Path | PreTrainedModel,
    repo_id: str,
    *,
    processor: object | None = None,
    report: TransferReport | None = None,
    base_model: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    retries: int = 5,
) -> CommitInfo:
    """Pushes a run's results to the Hub in one commit: model, processor, card, report, settings, pictures.

    What leaves are the files that the folder's manifest names, and no other, whatever lies beside them or is linked
    there (``hf_transfer_kit.hub.shareable``); nothing at all when the evaluation gave no figures, a file holds a token,
    or a text a path of this machine. Faults that pass are waited for; weights that arrived are not sent again, neither
    then nor when it is pushed later. With several processes the first one pushes, and all return its commit, or raise
    its error.

    Args:
        folder_or_model: A finished output folder, its ``adapter/`` to push that alone, a folder that ``save_merged``
            has left, or a model with its ``report``.
        repo_id: ``user/name``, or ``name`` in the token's own namespace. Made when there is none.
        processor: Of a model that is given.
        report: Of a model that is given.
        base_model: Hub name of the pretrained network, for the card of a model that is given.
        private: Visibility of a repository that is made here; default: that of the namespace.
        revision: Branch, made when there is none.
        commit_message: Default: the recipe and the figures' dataset.
        token: Default: HF_TOKEN, or the login's.
        retries: Further tries after a fault that passes.

    Returns:
        The commit; its text is the address.

    Raises:
        HubError: When something must not be shared, or the Hub refuses; what lies in the folder stays as it is.
        SettingsError: When the name is none, or report and model do not come together.

    Example:
        >>> push_transfer_model("no_such_folder", "me/birds")
        Traceback (most recent call last):
            ...
        hf_transfer_kit.errors.HubError: no_such_folder holds no report.json, so the run did not finish, or ...
    """
    check_repo_id(repo_id)

    def push() -> CommitInfo:
        if not isinstance(folder_or_model, PreTrainedModel):
            if report is not None or processor is not None:
                raise SettingsError("report= and processor= belong to a model; a folder has its own.")
            return _push_folder(Path(folder_or_model), repo_id, private, revision, commit_message, token, retries)
        if report is None:
            raise SettingsError(
                "A model is pushed with the report of its run, for the card tells what it gained: give report=, or "
                "push it alone with its own push_to_hub."
            )
        check_figures(report)
        with tempfile.TemporaryDirectory() as temporary:
            save_results(temporary, report, folder_or_model, processor, {}, base_model=base_model)
            return _push_folder(Path(temporary), repo_id, private, revision, commit_message, token, retries)

    return CommitInfo(**_by_the_first_process(lambda: commit_fields(push())))


def check_destination(repo_id: str, *, token: str | None = None, retries: int = 5) -> str:
    """Asks the Hub who the token is, before hours are spent on what could not be pushed then.

    Returns:
        ``user/name``, the namespace being the token's own where none was given.

    Raises:
        SettingsError: When the name is none.
        HubError: When there is no token, or none that may write.

    Example:
        >>> check_destination("no such name")
        Traceback (most recent call last):
            ...
        hf_transfer_kit.errors.SettingsError: 'no such name' is no name of a repository. Write user/name, ...
    """
    check_repo_id(repo_id)

    def ask() -> str:
        if not (token or get_token()):
            raise HubError(
                "There is no token, so nothing could be pushed. Log in with `hf auth login`, or set HF_TOKEN to one "
                "that may write."
            )
        who = with_retries(lambda: HfApi(token=token).whoami(), about=repo_id, retries=retries)
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise HubError(
                f"The token of {who['name']} may only read, so nothing could be pushed to {repo_id}. Take one that may "
                "write."
            )
        return repo_id if "/" in repo_id else f"{who['name']}/{repo_id}"

    return _by_the_first_process(ask)


def check_repo_id(repo_id: str) -> None:
    """Refuses what is no name of a repository, without network.

    Raises:
        SettingsError: With the rule.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise SettingsError(
            f"{repo_id!r} is no name of a repository. Write user/name, or name: letters, digits, '-', '_' and '.', at "
            "most 96 of them, neither '-' nor '.' first or last, nor two of them in a row."
        ) from error


def push_command(folder: str | Path, repo_id: str, *, revision: str | None = None, private: bool | None = None) -> str:
    """The command that pushes a folder later.

    Example:
        >>> push_command("outputs/transfer", "me/birds", private=True)
        'hf-transfer push outputs/transfer me/birds --private'
    """
    flags = [*(["--revision", revision] if revision else []), *(["--private"] if private else [])]
    return shlex.join(["hf-transfer", "push", str(folder), repo_id, *flags])


@contextmanager
def _as_shared(folder: Path) -> Iterator[Path]:
    """What is pushed of a folder: itself, or an adapter alone under a card of its own."""
    if not is_adapter_alone(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        stage_adapter(folder, Path(temporary))
        yield Path(temporary)


def _push_folder(
    given: Path,
    repo_id: str,
    private: bool | None,
    revision: str | None,
    commit_message: str | None,
    token: str | None,
    retries: int,
) -> CommitInfo:
    """Pushes what may be shared of a folder; sentences name the folder that was given, which the user knows."""
    with _as_shared(given) as folder:
        merged = merged_title(folder)  # nothing of it was measured, and its card says so
        report = None if merged else checked_report(folder)
        files = shareable_files(folder)
        if not any(file.suffix == ".safetensors" and len(file.parts) == 1 for file in files):
            adapter = (
                f" Its adapter alone can be: push {given / 'adapter'}." if is_adapter_alone(folder / "adapter") else ""
            )
            raise HubError(
                f"{given} holds no .safetensors file, so there is no model to push. Weights as pickle are not.{adapter}"
            )
        check_texts(folder, files, token=token or get_token())
        if report is not None and "report.html" in map(str, files):
            _tell_what_is_shown(report, repo_id)
        subject = f"{report.recipe}: {report.title or given.name}" if report else f"merge: {merged}"
        api = HfApi(token=token)

        def commit() -> CommitInfo:
            # All is asked anew in a further try, so that a commit whose answer was lost is not made twice.
            target = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision and revision != "main":
                api.create_branch(target, branch=revision, exist_ok=True)
            return api.create_commit(
                target,
                [CommitOperationAdd(file.as_posix(), _content(folder / file, target)) for file in files],
                commit_message=commit_message or subject,
                revision=revision,
            )

        try:
            return with_retries(commit, about=repo_id, retries=retries)
        except HubError as error:
            command = push_command(given, repo_id, revision=revision, private=private)
            raise HubError(f"{error} The results in {given} are whole; push them later with: {command}") from error


def _tell_what_is_shown(report: TransferReport, repo_id: str) -> None:
    """Says so where the page shows rows of the data."""
    shown = Counter(mistake.shown for mistake in report.mistakes if mistake.shown)
    if shown:
        rows = " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in shown.items())
        logger.warning(
            f"report.html shows {rows} of test rows, and whoever may see {repo_id} sees "
            f"{'them' if shown.total() > 1 else 'it'}. A run with --no_examples (examples=False) shows none; a page "
            "that you take out of hf_transfer_kit.json stays here."
        )


def _content(path: Path, repo_id: str) -> Path | bytes:
    """A file as it is; the card with snippets that load from the repository, settings without paths of this machine."""
    if path.name == "README.md":
        return at_repository(path.read_text(encoding="utf-8"), repo_id).encode()
    return shared_content(path) or path


def _by_the_first_process(work: Callable[[], T]) -> T:
    """What ``work`` returns in the first process, in all of them; or its error in all of them."""

    def outcome() -> tuple[T | None, TransferKitError | None]:
        try:
            return work(), None
        except TransferKitError as error:
            return None, error

    found, error = Ranks().broadcast_from_main(outcome)
    if error is not None:
        raise error
    return cast(T, found)
