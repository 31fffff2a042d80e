"""Which licence may stand on what began as a network under another."""

import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.licence import KNOWN, check_licence, known_licence, licence_family, licence_of


@pytest.mark.parametrize(
    ("licence", "family"),
    [
        ("apache-2.0", "permissive"),
        ("mit", "permissive"),
        ("bsd-3-clause", "permissive"),
        ("cc-by-4.0", "permissive"),
        ("lgpl-3.0", "permissive"),
        ("cc-by-sa-4.0", "share-alike"),
        ("gpl-3.0", "share-alike"),
        ("agpl-3.0", "share-alike"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("cc-by-nc-sa-4.0", "non-commercial"),
        ("cc-by-nd-4.0", "no derivatives"),
        ("cc-by-nc-nd-4.0", "no derivatives"),
        ("llama3.1", "own terms"),
        ("gemma", "own terms"),
        ("bigscience-openrail-m", "own terms"),
        ("openrail++", "own terms"),
        ("other", "own terms"),
    ],
)
def test_families(licence, family):
    assert licence_family(licence) == family


def test_an_identifier_the_hub_does_not_know_is_refused_with_those_near_it():
    with pytest.raises(SettingsError, match=r"'Apache 2' is no licence that the Hub knows: apache-2\.0 are"):
        licence_family("Apache 2")
    assert len(KNOWN) == 80


@pytest.mark.parametrize("own", [None, "mit", "cc-by-nc-4.0", "gpl-3.0"])
def test_a_permissive_base_allows_anything(own):
    assert check_licence(own, "apache-2.0", "me/base") is None


@pytest.mark.parametrize(
    ("own", "base", "words"),
    [
        ("apache-2.0", "cc-by-nc-4.0", r"for non-commercial use.*Give cc-by-nc-4\.0"),
        ("cc-by-sa-4.0", "cc-by-nc-4.0", "for non-commercial use"),
        ("mit", "cc-by-sa-4.0", "stays under the same licence"),
        ("cc-by-sa-4.0", "gpl-3.0", "stays under the same licence"),
        (None, "cc-by-nd-4.0", "allows no derivatives"),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", "allows no derivatives"),
    ],
)
def test_what_the_base_forbids_is_refused(own, base, words):
    with pytest.raises(SettingsError, match=words):
        check_licence(own, base, "me/base")


def test_what_is_left_to_look_up_is_said():
    assert "with terms that go on to hold" in check_licence("apache-2.0", "llama3.1", "me/base")
    assert "was not known when this card was made" in check_licence("mit", None, "me/base")
    assert "beside cc-by-nc-sa-4.0" in check_licence("cc-by-nc-sa-4.0", "cc-by-nc-4.0", "me/base")
    assert check_licence(None, "cc-by-nc-4.0", "me/base") is None  # it is taken over


def test_the_licence_of_a_folder_is_on_its_card_and_goes_on(tmp_path):
    assert known_licence(str(tmp_path)) is None
    assert licence_of(None, str(tmp_path)) == (None, None)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Net\n")
    assert known_licence(str(tmp_path)) == "cc-by-nc-4.0"
    assert licence_of(None, str(tmp_path)) == ("cc-by-nc-4.0", None)
    with pytest.raises(SettingsError, match="non-commercial"):
        licence_of("mit", str(tmp_path))


def test_without_network_a_network_of_the_hub_is_one_to_look_up():
    licence, note = licence_of("mit", "me/surely-not-in-the-cache")
    assert licence == "mit"
    assert note.startswith("The licence of me/surely-not-in-the-cache was not known")


def test_without_a_base_only_the_identifier_counts():
    assert licence_of("mit", None) == ("mit", None)
    with pytest.raises(SettingsError, match="no licence"):
        licence_of("free", None)


def test_a_licence_against_the_base_leaves_no_results(tmp_path):
    from hub.sharing_cases import bert

    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: gpl-3.0\n---\n# Net\n")
    case = bert()
    base = str(tmp_path / "base")
    with pytest.raises(SettingsError, match="same licence"):
        save_results(tmp_path / "run", case.report, case.model, None, {}, base_model=base, license="mit")
    assert not list((tmp_path / "run").iterdir())
