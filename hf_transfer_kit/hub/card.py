"""The model card of a transferred model: what was transferred from where, and what it gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from huggingface_hub import ModelCard
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import hf_transfer_kit
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub.command import without_local_paths
from hf_transfer_kit.hub.hardware import hardware
from hf_transfer_kit.hub.licence import licence_of
from hf_transfer_kit.hub.metadata import UNFINISHED, card_metadata, card_of, on_hub
from hf_transfer_kit.hub.usage import adapter_snippet, usage_snippet
from hf_transfer_kit.reports import TransferReport, all_verdicts, sections_of
from hf_transfer_kit.reports.escaping import code_fence, code_span, mapped, markdown_text, plain_code, plain_text
from hf_transfer_kit.reports.filters import FILTERS
from hf_transfer_kit.reports.section import folders


class TransferCard(ModelCard):
    """A model card made from a report. Needs no network; where there is one, the base model's licence is asked for.

    Example:
        >>> card = TransferCard.from_report(report)
        >>> card.data.license
    """

    @classmethod
    @checked_arguments()
    def from_report(
        cls,
        report: TransferReport,
        *,
        base_model: str | None = None,
        license: str | None = None,
        language: str | Sequence[str] | None = None,
        datasets: Sequence[str] = (),
        widget: Sequence[Mapping[str, Any]] | None = None,
        pictures: Mapping[str, str] | None = None,
        model_class: type | None = None,
        adapter_alone: bool = False,
        raw_inputs: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> TransferCard:
        """Builds the card.

        Args:
            report: What was found.
            base_model: Hub name of the pretrained network; a local path is left out, and so is a network whose weights
                were not used because training from scratch won.
            license: Identifier of the new model's licence; default: that of the base model, where its card is at hand.
            language: Codes of the data's languages.
            datasets: Names of the data; those that are not the Hub's are left out.
            widget: Examples that the model's page offers.
            pictures: Path in the repository -> what is seen there. A picture from elsewhere is refused.
            model_class: Of the saved model, for how to load it; None: a class of transformers.
            adapter_alone: Whether the repository holds an adapter without the network it changes.
            raw_inputs: Whether ``save_inputs`` has left inputs.json beside the model.
            config: What the network's config.json says, for the code that puts an adapter on its base.

        Raises:
            SettingsError: When the licence is none of the Hub's or against that of the base, a language no code, or the
                path of a picture leads out of the repository.
        """
        origin = base_model if base_model and not _from_scratch(report) else None
        named = origin if on_hub(origin) else None
        licence, licence_note = licence_of(license, origin)
        data = card_metadata(
            report,
            base_model=named,
            license=licence,
            language=language,
            datasets=datasets,
            widget=widget,
            adapter_alone=adapter_alone,
        )
        module = model_class.__module__.removesuffix(".modeling") if model_class and _of_kit(model_class) else None
        shown = mapped(report, markdown_text)  # names of others are text in it, no tags, links or columns
        text = (
            _environment(folders())
            .get_template(_template(report))
            .render(
                card_data=data.to_yaml(),
                report=shown,
                verdicts=all_verdicts(shown),
                winner=code_span(str(report.winner)),
                planned=[code_span(name) for name in report.data.get(UNFINISHED, {}).get("planned", ())],
                source=f"[{named}](https://huggingface.co/{named})" if named else code_span(report.model_name),
                from_scratch=_from_scratch(report),
                command=plain_code(without_local_paths(report.command)),
                usage=None if adapter_alone else usage_snippet(report, module=module, raw_inputs=raw_inputs),
                adapter=adapter_snippet(report, named, config, alone=adapter_alone),
                pictures={_picture(path): markdown_text(words) for path, words in (pictures or {}).items()},
                hardware=hardware(),
                licence=licence,
                licence_note=markdown_text(licence_note) if licence_note else None,
                **_words(shown),
            )
        )
        return cls(text, ignore_metadata_errors=False)


def _picture(path: str) -> str:
    """The address of a picture in the repository.

    Raises:
        SettingsError: When it leads out of it, or is a script.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or urlsplit(path).scheme:
        raise SettingsError(
            f"{plain_text(path)} is no picture in the repository; give a path relative to it, such as "
            "pictures/curves.svg."
        )
    return quote(path.encode("utf-8", "replace"), safe="/")


def _template(report: TransferReport) -> str:
    return "unfinished.md.jinja" if UNFINISHED in report.data else card_of(report)[0].template or "base.md.jinja"


def _words(report: TransferReport) -> Mapping[str, Any]:
    """What the card's own template reads beside the values."""
    parts = (section.words(report, found) for section, found in sections_of(report) if section.card.template)
    return next(parts, {})


def _from_scratch(report: TransferReport) -> bool:
    return report.winner == "from_scratch"


def _of_kit(model_class: type) -> bool:
    return model_class.__module__.partition(".")[0] == "hf_transfer_kit"


@cache
def _environment(sections: tuple[str, ...]) -> Environment:
    package = Path(hf_transfer_kit.__file__).parent
    # In a wheel the common templates lie inside the package, in a checkout beside it.
    common = [folder / "model_cards" for folder in (package, package.parent)]
    environment = Environment(
        loader=FileSystemLoader([*common, *sections]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters["seconds"] = _duration
    environment.filters["fence"] = code_fence
    return environment


def _duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
