"""The layers of a model: of the kind, number, width and settings that its configuration says."""

from __future__ import annotations

import pytest

from daskhpo.mlpf.config import MLPFConfig
from daskhpo.mlpf.layers.attention import AttentionLayer
from daskhpo.mlpf.layers.choose import chunk_size, make_layers
from daskhpo.mlpf.layers.common import Dropout
from daskhpo.mlpf.layers.graph import CombinedGraphLayer
from daskhpo.mlpf.layers.gravnet import GravNetLayer
from daskhpo.mlpf.layers.kernel_attention import KernelAttentionLayer
from daskhpo.mlpf.layers.stack import Additive

KINDS = {
    "gnn_lsh": Additive,
    "gravnet": GravNetLayer,
    "kernel_transformer": KernelAttentionLayer,
    "attention": AttentionLayer,
}


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_model_has_so_many_layers_of_its_kind(model, depth):
    layers = make_layers(MLPFConfig(model=model), 32, depth)
    assert [type(layer) for layer in layers] == [KINDS[model]] * depth


@pytest.mark.parametrize("model", KINDS)
def test_dropout_in_layers_is_half_of_that_in_decoders(model):
    config = MLPFConfig(model=model, dropout=0.4)
    for layer in make_layers(config, 32, 2):
        assert {m.p for m in layer.modules() if isinstance(m, Dropout)} == {0.2}


def test_only_the_first_layer_of_a_stack_that_is_decoded_asks_with_a_learned_query():
    config = MLPFConfig(model="kernel_transformer")
    decoding = make_layers(config, 32, 3, decodes=True)
    assert [layer.learned_query is not None for layer in decoding] == [True, False, False]
    shared = make_layers(config, 32, 3)
    assert [layer.learned_query is not None for layer in shared] == [False, False, False]


def test_graph_layers_in_concat_mode_take_any_width_and_replace_the_features():
    config = MLPFConfig(node_update_mode="concat", do_node_encoding=False)
    first, second = make_layers(config, 14, 2)
    assert isinstance(first, CombinedGraphLayer)
    widths = [layer.messages[0].theta_het_gate.shape[1] for layer in (first, second)]
    assert widths == [14, 32]


def test_the_hyperparameters_reach_the_layers():
    config = MLPFConfig(model="gravnet", k=7, space_dimensions=3, propagate_dimensions=11)
    conv = make_layers(config, 32, 1)[0].conv
    assert (conv.k, len(conv.space.weight), len(conv.message.weight)) == (7, 3, 11)
    config = MLPFConfig(model="kernel_transformer", num_heads=8, num_random_features=24)
    assert make_layers(config, 32, 1)[0].attention.directions.shape == (24, 4)
    config = MLPFConfig(model="attention", num_heads=8)
    assert make_layers(config, 32, 1)[0].attention.num_heads == 8


def test_the_way_features_are_made_positive_is_chosen_by_name():
    elu, favor = (
        make_layers(MLPFConfig(model="kernel_transformer", feature_transform=name), 32, 1)[0]
        for name in ("elu", "favor")
    )
    assert elu.attention.features is not favor.attention.features


def test_elements_are_taken_in_lsh_bins_or_in_chunks():
    assert chunk_size(MLPFConfig(bin_size=17)) == 17
    assert chunk_size(MLPFConfig(model="attention")) == chunk_size(MLPFConfig(model="gravnet"))
