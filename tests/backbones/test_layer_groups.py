import copy

import pytest
import tiny
import torch
from torch import nn

from hf_transfer_kit.backbones import find_head, layer_groups
from hf_transfer_kit.errors import ModelError

MODELS = {**tiny.classifiers(), **tiny.GENERATORS}
# Groups counted by hand: stem or embeddings, stages or blocks, last norm or dense layers where timm or transformers
# keeps them apart, head.
COUNTS = {
    "timm/resnet18": 6,
    "timm/mobilenetv2_100": 9,
    "timm/efficientnet_b0": 9,
    "timm/vgg11": 10,
    "timm/inception_v3": 14,
    "timm/convnext_atto": 7,
    "timm/vit_tiny_patch16_224": 4,
    "timm/swin_tiny_patch4_window7_224": 7,
    "bert": 5,
    "distilbert": 4,
    "roberta": 4,
    "deberta_v2": 5,
    "vit": 5,
    "swin": 5,
    "resnet": 4,
    "convnext": 5,
    "wav2vec2": 6,
    "wav2vec2_stable": 7,
    "hubert": 6,
    "whisper": 5,
    "t5": 8,
    "gpt2": 5,
    "llama": 5,
    "bert_tokens": 4,
    "whisper_lm": 8,
    "t5_lm": 7,
    "gpt2_lm": 4,
    "llama_lm": 5,
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    torch.manual_seed(0)
    model, inputs = MODELS[request.param]()
    return request.param, model, inputs, layer_groups(model)


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if not list(module.children())}


def execution_order(model: nn.Module, inputs) -> list[str]:
    """Parameters in the order in which the modules that hold them directly are first called."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order: dict[str, None] = {}
    handles = []
    for module in model.modules():
        own = [names[id(p)] for p in module.parameters(recurse=False)]
        if own and not any(list(child.parameters()) for child in module.children()):
            handles.append(module.register_forward_pre_hook(lambda *_, own=own: order.update(dict.fromkeys(own))))
    with torch.no_grad():
        tiny.run(model.eval(), inputs)
    for handle in handles:
        handle.remove()
    return list(order)


def test_groups_follow_the_real_order_of_execution(case):
    _name, model, inputs, groups = case
    depth = {parameter: index for index, group in enumerate(groups) for parameter in group.parameters}
    order = [parameter for parameter in execution_order(model, inputs) if parameter in depth]
    assert len(order) > 0.5 * len(depth)
    depths = [depth[parameter] for parameter in order]
    assert depths == sorted(depths), [(p, d) for p, d in zip(order, depths, strict=True)]


def test_every_parameter_is_in_exactly_one_group(case):
    _, model, _, groups = case
    found = [parameter for group in groups for parameter in group.parameters]
    assert sorted(found) == sorted(dict(model.named_parameters()))
    assert all(group.parameters[n] is model.get_parameter(n) for group in groups for n in group.parameters)
    assert sum(group.num_parameters for group in groups) == sum(p.numel() for p in model.parameters())


def test_every_leaf_module_lies_under_exactly_one_group(case):
    _, model, _, groups = case
    owners = dict.fromkeys(leaves(model), 0)
    for group in groups:
        for name in group.modules:
            for leaf in owners:
                owners[leaf] += leaf == name or leaf.startswith(f"{name}.")
    assert {leaf: count for leaf, count in owners.items() if count != 1} == {}


def test_modules_hold_only_parameters_of_their_group(case):
    _, _model, _, groups = case
    for group in groups:
        own = {id(parameter) for parameter in group.parameters.values()}
        earlier = {id(p) for g in groups for p in g.parameters.values()} - own
        for name, module in group.modules.items():
            foreign = {id(p) for p in module.parameters()} & earlier
            tied = "lm_head" in name or "embed" in name or "proj_out" in name
            assert not foreign or tied, name


def test_number_of_groups_and_head(case):
    name, model, _, groups = case
    assert len(groups) == COUNTS[name.replace("wrapped/", "timm/")], str(groups)
    if name in ("whisper_lm", "t5_lm", "gpt2_lm"):
        assert groups.head is None
        return
    assert groups.head is groups[-1]
    found = {f"{module}.{name}" for module, m in find_head(model).items() for name, _ in m.named_parameters()}
    assert found
    assert found == {parameter for parameter in groups.head.parameters if parameter != "layer_weights"}
    assert not any(group.is_head for group in groups.body)


def test_asking_changes_nothing():
    model, _ = MODELS["timm/resnet18"]()
    model.conv1.requires_grad_(False)
    model.layer1.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    layer_groups(model)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1


def test_sequential_goes_child_by_child():
    model, _ = tiny.sequential()
    groups = layer_groups(model)
    assert [list(group.parameters) for group in groups] == [
        ["0.weight", "0.bias"],
        ["1.weight", "1.bias"],
        ["4.weight", "4.bias"],
        ["8.weight", "8.bias"],
    ]
    assert list(groups[1].modules) == ["1", "2", "3"]
    assert groups.head is groups[-1]


def test_an_unknown_module_is_traced():
    model = tiny.Disordered()
    groups = layer_groups(model, example_inputs=torch.randn(2, 4))
    assert [group.name for group in groups] == ["inward", "middle.0", "middle.2", "out", "head"]
    assert "scale" in groups[0].parameters
    assert model.training


def test_an_unknown_module_needs_no_inputs_where_its_first_layer_tells_them():
    groups = layer_groups(tiny.Disordered())
    assert [group.name for group in groups] == ["inward", "middle.0", "middle.2", "out", "head"]


class ReadsTwoThings(nn.Module):
    """No input can be made up for it."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Linear(4, 4)
        self.early = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, table):
        return self.head(self.late(self.early(table["rows"])))


def test_inputs_that_cannot_be_made_up_are_asked_for_once_and_remembered():
    model = ReadsTwoThings()
    with pytest.raises(ModelError, match=r"layers of ReadsTwoThings is read off one forward.*example_inputs"):
        layer_groups(model)
    names = ["early", "late", "head"]
    assert [g.name for g in layer_groups(model, example_inputs=({"rows": torch.ones(2, 3)},))] == names
    assert [g.name for g in layer_groups(model)] == names
    model.head = nn.Linear(4, 5)
    assert [g.name for g in layer_groups(model)] == names, "another head, the same inputs"
    with pytest.raises(ModelError, match="ReadsTwoThings cannot run on the example inputs that were given"):
        layer_groups(model, example_inputs=torch.ones(2, 3))


def test_a_part_that_is_not_executed_goes_with_what_it_stands_beside():
    model = tiny.Disordered()
    model.spare = nn.Linear(2, 2)
    groups = layer_groups(model)
    assert sorted(n for g in groups for n in g.parameters) == sorted(n for n, _ in model.named_parameters())
    assert "spare.weight" not in groups.head.parameters
    assert [group.name for group in groups if group.name != "spare"] == [
        "inward",
        "middle.0",
        "middle.2",
        "out",
        "head",
    ]


def test_names_are_those_of_the_wrapped_model():
    peft = pytest.importorskip("peft")
    model, _ = MODELS["bert"]()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    groups = layer_groups(wrapped)
    assert sorted(n for g in groups for n in g.parameters) == sorted(dict(wrapped.named_parameters()))
    assert len(groups) == 5
    # Titles are for people: the wrapper's prefix is left out.
    assert [group.name for group in groups] == [group.name for group in layer_groups(model)]
    assert any("lora_A" in name for name in groups[1].parameters)
    assert any("modules_to_save" in name for name in groups.head.parameters)


def test_the_table_counts():
    model, _ = tiny.sequential()
    model[0].requires_grad_(False)
    table = str(layer_groups(model))
    assert table.splitlines()[0].split() == ["depth", "name", "modules", "parameters", "trainable"]
    assert table.splitlines()[1].split()[-2:] == ["112", "0%"]
    assert table.splitlines()[-1] == "461 parameters, 349 trainable (75.7%)"
