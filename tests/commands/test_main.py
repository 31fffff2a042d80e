"""``hf-transfer``: its commands, and help that is true, whole and imports nothing."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys

import processes
import pytest

from hf_transfer_kit import __version__
from hf_transfer_kit.commands.edge import help_pages
from hf_transfer_kit.commands.edge.idle_flags import idle_flags
from hf_transfer_kit.commands.edge.named_commands import COMMANDS
from hf_transfer_kit.commands.main import help_page, main, overview

RECIPES = [name for name, command in COMMANDS.items() if command.is_recipe]


def called(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["/bin/hf-transfer", *words])
    main()


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_of_help_is_what_its_flags_are(name):
    page = help_page(name, ["--help"])
    assert page == help_pages.page(name), "python -m hf_transfer_kit.commands.edge.help_pages writes them"
    assert max(map(len, page.splitlines()[1:])) <= 100
    assert page == help_page(name, ["--dataset", "x", "-h"])
    assert help_page(name, ["--dataset", "x"]) is None


@pytest.mark.parametrize("name", RECIPES)
def test_every_flag_is_told_once_but_those_that_are_refused(name):
    module = importlib.import_module(f"hf_transfer_kit.commands.{COMMANDS[name].module}")
    fields = [field for kind in module.FLAGS for field in dataclasses.fields(kind)]
    refused = set(idle_flags(COMMANDS[name].module, {"train_network": "1"}))
    told = re.findall(r"^  --(\w+)", help_page(name, ["--help-all"]), re.MULTILINE)
    assert sorted(told) == sorted(
        {field.name for field in fields if field.init} - refused | {"config", "plugin", "help"}
    )
    own = {
        n
        for kind in module.FLAGS
        for b in kind.__mro__
        if "commands" in b.__module__
        for n in vars(b).get("__annotations__", ())
    }
    short = set(re.findall(r"^  --(\w+)", help_page(name, ["-h"]), re.MULTILINE))
    assert own & set(told) - set(help_pages._RARE) <= short
    assert len(short) < 80


def test_all_commands_are_in_the_overview(monkeypatch, capsys):
    for words in ([], ["--help"], ["-h"], ["help"]):
        called(monkeypatch, *words)
        assert capsys.readouterr().out == overview() + "\n"
    assert all(f"  hf-transfer {name} " in overview() for name in COMMANDS)
    called(monkeypatch, "--version")
    assert capsys.readouterr().out == f"hf-transfer {__version__}\n"


@pytest.mark.parametrize(("word", "meant"), [("finetun", "finetune"), ("zeroshot", "zero-shot"), ("--adapt", "adapt")])
def test_a_mistyped_command_is_named(word, meant, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        called(monkeypatch, word)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hf-transfer: {word} is no command; there are run, ")
    assert said.endswith(f"Did you mean {meant!r}?\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run", "--help"],
        ["zero_shot", "-h"],
        ["push", "--help"],
        ["cache", "-h"],
        ["predict", "-h"],
        ["export", "-h"],
        ["merge", "-h"],
        ["demo", "-h"],
        ["report", "-h"],
    ],
)
def test_help_imports_nothing_that_takes_time(words):
    program = (
        "import sys, json\nfrom hf_transfer_kit.commands.main import main\n"
        f"sys.argv = ['hf-transfer', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not {"torch", "transformers", "datasets", "numpy", "timm", "sklearn", "yaml"} & set(loaded)


def test_a_recipe_runs_under_its_name(tmp_path):
    flags = ["--dataset", "digits", "--model_name_or_path", "dann_mnist", "--train_size", "20", "--use_cpu"]
    program = tmp_path / "hf-transfer"
    program.write_text("from hf_transfer_kit.commands.main import main\nmain()\n")
    done = processes.run([program, "features", *flags], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "outputs" / "extract_features" / "features.json").read_text())
    assert found["command"].startswith("hf-transfer features --dataset digits")
    refused = processes.run([program, "features", "--datset", "digits"], cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("hf-transfer features: --datset is no flag of hf-transfer features;")
    assert "Did you mean --dataset?" in refused.stderr
    refused = processes.run([program, "multitask", "--streaming"], cwd=tmp_path)
    assert refused.returncode == 2
    owners = "hf-transfer finetune, hf-transfer features"
    assert f"--streaming is no flag of hf-transfer multitask but of {owners};" in refused.stderr
    idle = processes.run([program, "features", "--bf16", "true"], cwd=tmp_path)
    assert "hf-transfer features cannot honour --bf16" in idle.stderr


def test_few_flags_are_refused_in_a_sentence_too(tmp_path):
    program = tmp_path / "hf-transfer"
    program.write_text("from hf_transfer_kit.commands.main import main\nmain()\n")
    for words, sentence in [
        (["cache"], "hf-transfer cache: The following arguments are required: action."),
        (["push", "x"], "hf-transfer push: The following arguments are required: repo_id."),
        (["push", str(tmp_path), "me/x"], "hf-transfer push:"),
    ]:
        done = processes.run([program, *words], cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(sentence)
        assert len(done.stderr.splitlines()) == 1
