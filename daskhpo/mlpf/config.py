"""The network's hyperparameters under the papers' names, with their ranges, aliases and presets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from daskhpo.exceptions import SpaceError
from daskhpo.mlpf.schema import SCHEMAS

__all__ = ["ALIASES", "PRESETS", "MLPFConfig", "resolve_aliases"]

GNN, GRAVNET, KERNEL, ATTENTION = "gnn_lsh", "gravnet", "kernel_transformer", "attention"
TRANSFORMERS = (KERNEL, ATTENTION)
OUTPUTS = ("classes", "charge", "pt", "eta", "phi", "energy")

# The names that the papers and the upstream code gave to the same hyperparameter.
ALIASES = {
    "num_graph_layers_common": "n_glayers_id",
    "num_graph_layers_energy": "n_glayers_reg",
    "num_graph_layers_id": "n_glayers_id",
    "num_graph_layers_reg": "n_glayers_reg",
    "num_layers_decoder_cls": "n_glayers_id",
    "num_layers_decoder_reg": "n_glayers_reg",
    "conv_type": "model",
    "num_neighbors": "k",
}


def resolve_aliases(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give every hyperparameter its one name, refusing two names for the same one.

    Examples
    --------
    >>> resolve_aliases({"num_graph_layers_common": 3, "lr": 1e-3})
    {'n_glayers_id': 3, 'lr': 0.001}
    """
    resolved: dict[str, Any] = {}
    for name, value in params.items():
        proper = ALIASES.get(name, name)
        if proper in resolved:
            raise SpaceError(
                f"{name}={value!r} sets {proper}, which is already {resolved[proper]!r}: "
                f"give it once, as {proper} or one of "
                f"{sorted(a for a, p in ALIASES.items() if p == proper)}"
            )
        resolved[proper] = value
    return resolved


def _number(
    default: float, low: float, high: float = float("inf"), *, of: tuple[str, ...] = ()
) -> Any:
    """Declare a field with its allowed range [low, high] and the models that use it (all)."""
    return field(default=default, metadata={"low": low, "high": high, "of": of})


def _choice(default: str, *choices: str, of: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"choices": choices, "of": of})


def _flag(default: bool, *, of: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"of": of})


@dataclass(frozen=True, slots=True, kw_only=True)
class MLPFConfig:
    """The network's hyperparameters under the papers' names; the defaults train on a laptop.

    Use `preset` for the sizes that the papers trained on GPUs and `from_params` for a trial's
    parameters. `n_glayers_id` and `n_glayers_reg` are also known as `num_graph_layers_common` and
    `num_graph_layers_energy` (and `num_graph_layers_id`, `_reg`; `ALIASES` lists all).

    Parameters
    ----------
    model : {"gnn_lsh", "gravnet", "kernel_transformer", "attention"}
        What the layers are: graphs in LSH bins, k nearest neighbours in a learned space, linear
        attention by kernel features, softmax attention (exact, quadratic: the reference).
    input_dim : int
        Columns F of X: 12 in the Delphes data set, 17 in CLIC's. Taken from the data.
    output_dim : int
        Width d of the node features.
    num_layers_encoder : int
        Layers that both stacks share, before they part.
    n_glayers_id, n_glayers_reg : int
        Depth of the classification and of the regression stack; 0 is legal.
    node_update_mode : {"additive", "concat"}
        Additive: H <- H + layer(H), and the last H is decoded. Concat: H <- layer(H), and all H of
        a stack are decoded, side by side. (Layers other than gnn_lsh add to H by themselves.)
    skip_connection : bool
        In concat mode, decode the encoded elements as well.
    do_node_encoding, node_encoding_hidden_dim : bool, int
        A perceptron before the stacks; it can be left out in the concat mode of gnn_lsh.
    bin_size : int
        gnn_lsh: elements that see one another in a graph layer.
    distance_dim : int
        gnn_lsh: width of the embedding that is hashed and whose distances weigh the edges.
    ffn_dist_hidden_dim, ffn_dist_num_layers : int
        gnn_lsh: the perceptron that makes the embedding.
    position_scale : float
        gnn_lsh: how much the position at the calorimeter counts in that distance at first, in
        units of 1 / (pseudorapidity or radian); 0 leaves it out, as the papers do.
    dist_mult, clip_value_low : float
        gnn_lsh: edge weight max(exp(-dist_mult * distance), clip_value_low).
    num_node_messages : int
        gnn_lsh: graph convolutions per layer on the same edges.
    normalize_degrees : bool
        gnn_lsh: normalise the edge weights. Sums over neighbours tell more than means on our
        events, so it is off by default (the papers: on for Delphes, off for CLIC).
    k, space_dimensions, propagate_dimensions : int
        gravnet: neighbours of an element, itself included; width of the space in which they are
        near; width of what they send.
    num_heads : int
        Transformers: attention heads; they divide output_dim.
    num_random_features, feature_transform : int, {"elu", "favor"}
        kernel_transformer: random features of a head, and how they are made positive.
    dropout : float
        As in the papers' code: this value in the decoders, half of it in the layers.
    layernorm : bool
        Normalise the features before a graph layer and before the decoders.
    out_hidden_dim : int
        Width of the decoders' first hidden layer.
    out_num_layers : int or six ints
        Hidden layers of every decoder, or of those of class, charge, pt, eta, phi and energy.
    out_dim_decrease : bool
        Halve the width of the decoders from one hidden layer to the next.

    Raises
    ------
    SpaceError
        If a value is of the wrong kind, out of its range, or does not go with another.

    Examples
    --------
    >>> MLPFConfig(output_dim=32, model="gravnet").k
    16
    """

    model: str = _choice(GNN, GNN, GRAVNET, KERNEL, ATTENTION)
    input_dim: int = _number(12, 6)
    output_dim: int = _number(32, 2)
    num_layers_encoder: int = _number(0, 0)
    n_glayers_id: int = _number(2, 0)
    n_glayers_reg: int = _number(2, 0)
    node_update_mode: str = _choice("additive", "additive", "concat")
    skip_connection: bool = _flag(False)
    do_node_encoding: bool = _flag(True)
    node_encoding_hidden_dim: int = _number(64, 2)
    bin_size: int = _number(32, 1, of=(GNN,))
    distance_dim: int = _number(16, 2, of=(GNN,))
    ffn_dist_hidden_dim: int = _number(32, 2, of=(GNN,))
    ffn_dist_num_layers: int = _number(1, 0, of=(GNN,))
    dist_mult: float = _number(1.0, 0.0, of=(GNN,))
    clip_value_low: float = _number(0.0, 0.0, 1.0, of=(GNN,))
    position_scale: float = _number(40.0, 0.0, of=(GNN,))
    num_node_messages: int = _number(1, 1, of=(GNN,))
    normalize_degrees: bool = _flag(False, of=(GNN,))
    k: int = _number(16, 1, of=(GRAVNET,))
    space_dimensions: int = _number(4, 1, of=(GRAVNET,))
    propagate_dimensions: int = _number(32, 1, of=(GRAVNET,))
    num_heads: int = _number(4, 1, of=TRANSFORMERS)
    num_random_features: int = _number(32, 1, of=(KERNEL,))
    feature_transform: str = _choice("elu", "elu", "favor", of=(KERNEL,))
    dropout: float = _number(0.0, 0.0, 0.99)
    layernorm: bool = _flag(True)
    out_hidden_dim: int = _number(64, 2)
    out_num_layers: int | tuple[int, ...] = 1
    out_dim_decrease: bool = _flag(False)

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for entry in fields(self):
            if entry.metadata:
                _check(entry.name, getattr(self, entry.name), str(entry.type), entry.metadata)
        object.__setattr__(self, "out_num_layers", _depths(self.out_num_layers))
        self._check_shapes()

    def _check_shapes(self) -> None:
        widths = [schema.width for schema in SCHEMAS.values()]
        if self.input_dim not in widths:
            raise SpaceError(f"input_dim={self.input_dim} must be one of {widths}")
        concat = self.node_update_mode == "concat"
        if self.skip_connection and not concat:
            raise SpaceError("skip_connection=True needs node_update_mode='concat'")
        if not self.do_node_encoding and not (concat and self.model == GNN):
            raise SpaceError(
                "do_node_encoding=False needs model='gnn_lsh' and node_update_mode='concat': "
                "elsewhere a layer's input is as wide as its output"
            )
        for name in ("n_glayers_id", "n_glayers_reg"):
            if concat and not getattr(self, name) and not self.skip_connection:
                raise SpaceError(
                    f"{name}=0 with node_update_mode='concat' leaves nothing to decode: "
                    "it needs skip_connection=True"
                )
        if self.model in TRANSFORMERS and self.output_dim % self.num_heads:
            raise SpaceError(f"num_heads={self.num_heads} must divide output_dim={self.output_dim}")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> MLPFConfig:
        """Take the network's hyperparameters out of a trial's parameters, aliases included.

        Parameters
        ----------
        params : mapping of str to value
            ``preset`` names the values to start from; names that are not the network's (lr, data,
            ...) are left to the training.

        Raises
        ------
        SpaceError
            If a value is not allowed, or a parameter is of another kind of model: it would be
            tuned without meaning anything.
        """
        known = {entry.name: entry for entry in fields(cls)}
        resolved = resolve_aliases(params)
        preset = resolved.pop("preset", None)
        own = {name: value for name, value in resolved.items() if name in known}
        config = cls(**({} if preset is None else _preset(preset)) | own)
        for name in own:
            models = known[name].metadata.get("of")
            if models and config.model not in models:
                raise SpaceError(
                    f"{name}={own[name]!r} is a parameter of {' and '.join(models)}; "
                    f"model={config.model!r} does not use it"
                )
        return config

    @classmethod
    def preset(cls, name: str) -> MLPFConfig:
        """Build one of the papers' networks: "delphes", "clic" or "paper-table3".

        Examples
        --------
        >>> MLPFConfig.preset("delphes").output_dim
        512
        """
        return cls(**_preset(name))

    @property
    def depths(self) -> dict[str, int]:
        """Hidden layers of the decoder of each output."""
        layers = self.out_num_layers
        if isinstance(layers, int):
            return dict.fromkeys(OUTPUTS, layers)
        return dict(zip(OUTPUTS, layers, strict=True))


_DELPHES: dict[str, Any] = {
    "output_dim": 512,
    "n_glayers_id": 3,
    "n_glayers_reg": 3,
    "node_encoding_hidden_dim": 512,
    "bin_size": 640,
    "distance_dim": 128,
    "ffn_dist_hidden_dim": 128,
    "ffn_dist_num_layers": 1,
    "position_scale": 0.0,
    "dist_mult": 0.1,
    "normalize_degrees": True,
    "layernorm": False,
    "out_hidden_dim": 256,
    "out_num_layers": (4, 2, 3, 3, 3, 3),
    "out_dim_decrease": True,
}

# Upstream's `parameters/*.yaml` of version 1.5.1, and table 3 of Wulff et al. (2022) on the first.
PRESETS: dict[str, dict[str, Any]] = {
    "delphes": _DELPHES,
    "clic": {
        "input_dim": 17,
        "output_dim": 256,
        "n_glayers_id": 6,
        "n_glayers_reg": 6,
        "node_encoding_hidden_dim": 256,
        "bin_size": 256,
        "distance_dim": 128,
        "ffn_dist_hidden_dim": 64,
        "ffn_dist_num_layers": 3,
        "position_scale": 0.0,
        "dist_mult": 0.1,
        "num_node_messages": 2,
        "layernorm": True,
        "dropout": 0.1,
        "out_hidden_dim": 128,
        "out_num_layers": 1,
    },
    "paper-table3": _DELPHES
    | {
        "node_encoding_hidden_dim": 128,
        "dropout": 0.016312,
        "clip_value_low": 0.001998,
        "dist_mult": 0.120898,
        "bin_size": 64,
        "distance_dim": 64,
        "ffn_dist_hidden_dim": 128,
        "ffn_dist_num_layers": 3,
        "n_glayers_id": 3,
        "n_glayers_reg": 2,
        "num_node_messages": 3,
        "output_dim": 64,
    },
}


def _preset(name: object) -> dict[str, Any]:
    if not isinstance(name, str) or name not in PRESETS:
        near = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SpaceError(f"preset={name!r}: {hint}allowed are {', '.join(PRESETS)}")
    return PRESETS[name]


def _check(name: str, value: object, kind: str, allowed: Mapping[str, Any]) -> None:
    if "choices" in allowed:
        if value not in allowed["choices"]:
            raise SpaceError(f"{name}={value!r} must be one of {', '.join(allowed['choices'])}")
        return
    if "low" not in allowed:
        if not isinstance(value, bool):
            raise SpaceError(f"{name}={value!r} must be True or False")
        return
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
        raise SpaceError(f"{name}={value!r} must be of type {kind}")
    if not allowed["low"] <= value <= allowed["high"]:
        raise SpaceError(f"{name}={value!r} must lie in [{allowed['low']}, {allowed['high']}]")


def _depths(value: object) -> int | tuple[int, ...]:
    """One depth for all decoders, or one for each."""
    given: list[object] = list(value) if isinstance(value, (list, tuple)) else [value]
    depths = [d for d in given if isinstance(d, int) and not isinstance(d, bool) and d >= 0]
    several = isinstance(value, (list, tuple))
    if len(depths) != len(given) or len(depths) != (len(OUTPUTS) if several else 1):
        raise SpaceError(
            f"out_num_layers={value!r} must be a number of hidden layers, 0 or more, or one for "
            f"each of {', '.join(OUTPUTS)}"
        )
    return tuple(depths) if several else depths[0]
