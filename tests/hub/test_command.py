"""A run's command as others may read it."""

import pytest

from hf_transfer_kit.hub.command import without_local_paths, without_tokens


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python scripts/transfer.py --dataset /data/alice/birds", "python scripts/transfer.py --dataset birds"),
        ("python ../x/transfer.py --a ../../y/z --b ~/k/m", "python transfer.py --a z --b m"),
        (
            "python scripts/transfer.py --model_name_or_path org/name",
            "python scripts/transfer.py --model_name_or_path org/name",
        ),
    ],
)
def test_local_paths_are_cut(command, expected):
    assert without_local_paths(command) == expected


@pytest.mark.parametrize(
    "flag", ["--hub_token SECRET", "--hub-token SECRET", "--hub_token=SECRET", "--hub_t SECRET", "--hub_tok=SECRET"]
)
def test_the_token_is_left_out_however_it_was_given(flag):
    typed = ["finetune.py", "--push_to_hub", *flag.split(), "--hub_model_id", "me/x"]
    assert without_tokens(typed) == ["finetune.py", "--push_to_hub", "--hub_model_id", "me/x"]
    assert without_tokens(typed[: 2 + len(flag.split())]) == typed[:2]


def test_other_flags_of_the_hub_stay():
    typed = ["--hub_strategy", "end", "--hub_private_repo", "true", "--max_tokens", "3"]
    assert without_tokens(typed) == typed
