"""``hf-transfer export``: where the file comes to lie, and what is said."""

import pytest
from predicting import saved_cases

from hf_transfer_kit.commands.export import main
from hf_transfer_kit.errors import ModelError, SettingsError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return saved_cases.classifier(tmp_path).folder


def test_the_file_lies_in_the_folder_unless_told(folder, tmp_path, capsys):
    main(["kept"])
    said = capsys.readouterr().out
    assert said.startswith(
        "The network is in kept/model.onnx; it reads pixel_values. Logits differ from the network's by"
    )
    assert (folder / "model.onnx").is_file()
    with pytest.raises(SettingsError, match=r"--overwrite"):
        main(["kept"])
    main(["kept", "--overwrite"])
    main(["kept", "--output", "elsewhere.onnx"])
    assert (tmp_path / "elsewhere.onnx").is_file()


def test_what_is_mistyped_is_told(folder):
    with pytest.raises(ModelError, match="Did you mean 'kept'"):
        main(["kep"])
    with pytest.raises(SettingsError, match=r"Did you mean '--output'"):
        main(["kept", "--outptu", "x.onnx"])
    with pytest.raises(SettingsError, match=r"does not end in \.onnx"):
        main(["kept", "--output", "model.pt"])
