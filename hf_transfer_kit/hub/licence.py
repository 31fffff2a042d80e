"""Whether a licence may stand on what began as a network under another: the known rules, no lawyer's advice."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import cast

from huggingface_hub import ModelCard

from hf_transfer_kit.compat import http_client
from hf_transfer_kit.errors import SettingsError

# What the Hub takes as `license`.
# fmt: off
KNOWN = frozenset(
    (
        "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd",
        "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0",
        "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
        "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0",
        "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
        "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc",
        "h-research", "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0",
        "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib",
        "pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3",
        "llama4", "gemma", "fair-noncommercial-research-license", "unknown", "other",
    )
)
# fmt: on
PERMISSIVE, SHARE_ALIKE, NON_COMMERCIAL, NO_DERIVATIVES, OWN_TERMS = (
    "permissive",
    "share-alike",
    "non-commercial",
    "no derivatives",
    "own terms",
)  # fmt: skip
_FAMILIES = (
    (NO_DERIVATIVES, r"cc-by-(nc-)?nd-.*"),
    (NON_COMMERCIAL, r"cc-by-nc-.*|apple-amlr|fair-noncommercial.*|(h|intel)-research|deepfloyd.*"),
    (SHARE_ALIKE, r"cc-by-sa-.*|a?gpl.*|gfdl|odbl|osl-3\.0|eupl.*|cdla-sharing.*"),
    (OWN_TERMS, r"llama.*|gemma|.*openrail.*|bigscience-bloom.*|cc|unknown|other|c-uda"),
)


def licence_family(licence: str) -> str:
    """Which rule a licence belongs to; the ones that ask for no more than a notice are permissive.

    Raises:
        SettingsError: When the Hub does not know it.
    """
    if licence not in KNOWN:
        near = [known for known in sorted(KNOWN) if known.startswith(licence.lower()[:3])]
        raise SettingsError(
            f"{licence!r} is no licence that the Hub knows{': ' + ', '.join(near) + ' are' if near else ''}. Write its "
            "identifier in small letters, such as apache-2.0, or other."
        )
    return next((family for family, pattern in _FAMILIES if re.fullmatch(pattern, licence)), PERMISSIVE)


def check_licence(licence: str | None, base: str | None, base_model: str) -> str | None:
    """Whether weights that began as ``base_model`` may be shared under a licence.

    Args:
        licence: Of the new model; None: not chosen.
        base: Of the base model; None: not known here.
        base_model: Its name.

    Returns:
        A sentence for the card where something is left to look up; None where all is clear.

    Raises:
        SettingsError: When the base's licence forbids it, or a licence has no identifier of the Hub.
    """
    family = licence_family(licence) if licence else None
    if base is None or base not in KNOWN:
        return f"The licence of {base_model} was not known when this card was made: look it up before use."
    base_family = licence_family(base)
    if base_family == NO_DERIVATIVES:
        raise SettingsError(
            f"{base_model} is under {base}, which allows no derivatives to be shared, and its trained weights are one. "
            "Begin from another network, or keep the model to yourself."
        )
    if licence is None or licence == base or base_family == PERMISSIVE:
        return None
    if base_family == NON_COMMERCIAL and family not in (NON_COMMERCIAL, OWN_TERMS):
        raise SettingsError(
            f"{base_model} is under {base}, for non-commercial use, so what is made from it cannot be shared under "
            f"{licence}. Give {base}."
        )
    if base_family == SHARE_ALIKE and family != OWN_TERMS:
        raise SettingsError(
            f"{base_model} is under {base}, which asks that what is made from it stays under the same licence, not "
            f"{licence}. Give {base}."
        )
    return f"{base_model} is under {base}, with terms that go on to hold for this model beside {licence}: read them."


def known_licence(base_model: str) -> str | None:
    """The licence on the base model's card: in its folder, in the Hub's cache, or on the Hub where it can be asked."""
    path = Path(base_model)
    if not path.exists():
        return _licence_on_hub(base_model)
    return _licence_of_card(path / "README.md") if (path / "README.md").is_file() else None


@cache
def _licence_on_hub(name: str) -> str | None:
    """Asked once a process: a card is written at every evaluation."""
    return _licence_of_card(name)


def _licence_of_card(source: Path | str) -> str | None:
    try:
        licence = ModelCard.load(source, ignore_metadata_errors=True).data.license
    except (OSError, ValueError, http_client().HTTPError):  # offline, no such repository, no card
        return None
    return licence if isinstance(licence, str) else None


def licence_of(licence: str | None, base_model: str | None) -> tuple[str | None, str | None]:
    """The licence of a new model, and what its card says of it.

    Args:
        licence: As chosen, or None.
        base_model: Hub name or folder of the network that it began as; None: it began from nothing.

    Returns:
        The chosen one, else the base's, else None; and a sentence where something is left to look up.

    Raises:
        SettingsError: As ``check_licence``.
    """
    if licence:
        licence_family(licence)
    base = known_licence(base_model) if base_model else None
    if base is None and (base_model is None or Path(base_model).exists()):
        return licence, None  # of a network in a folder without a card nobody can say more
    known = cast(str, base_model)
    name = Path(known).name if Path(known).exists() else known
    return licence or base, check_licence(licence, base, name)
