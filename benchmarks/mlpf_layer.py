"""Cost of a layer of MLPF: growth with the event size, against padding and against attention.

Run as `OMP_NUM_THREADS=1 python benchmarks/mlpf_layer.py`; it prints

- the exponent of the cost between events of 1,024 and of 5,120 elements (target: at most 1.15),
- the throughput of the ragged layout over that of the padded one, on events of 420 to 5,120
  elements that fill about 40 % of the padded tensor (target: at least 2),
- the cost of full attention over that of the graph layer, at 5,120 elements (target: at least 5).

All figures are CPU time of this process for forward and backward, on one thread, so that other
work on the machine changes them little.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch

from daskhpo.mlpf.layers.attention import AttentionLayer, AttentionSettings
from daskhpo.mlpf.layers.graph import (
    CombinedGraphLayer,
    GraphSettings,
    distance_kernel,
    lsh,
    normalise_degrees,
)
from daskhpo.mlpf.layers.layout import RaggedLayout

REPEATS = 7
SETTINGS = {"distance_dim": 128, "ffn_dist_hidden_dim": 128, "num_node_messages": 2}
RAGGED_EVENTS = [420, 610, 900, 1300, 1900, 2800, 4100, 5120]  # elements; they fill 0.42


def cpu_seconds(work: Callable[[], None]) -> float:
    """Median CPU time of `work`, after one call to warm up."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def ragged_step(counts: list[int], *, width: int, bin_size: int) -> Callable[[], None]:
    """Forward and backward of one layer on events of `counts` elements, ragged."""
    torch.manual_seed(0)
    settings = GraphSettings(output_dim=width, normalize_degrees=True, **SETTINGS)  # type: ignore[arg-type]
    layer = CombinedGraphLayer(width, settings)
    x = torch.randn(sum(counts), width, requires_grad=True)

    def work() -> None:
        layout = RaggedLayout.of(torch.tensor(counts), bin_size=bin_size)
        torch.autograd.backward(layer(x, layout).square().sum())

    return work


def padded_step(counts: list[int], *, width: int, bin_size: int) -> Callable[[], None]:
    """Like `ragged_step`, with every event padded to the longest, as in the papers' code.

    All B x N rows go through every matrix product, and elements are gathered with torch.gather.
    """
    torch.manual_seed(0)
    settings = GraphSettings(output_dim=width, normalize_degrees=True, **SETTINGS)  # type: ignore[arg-type]
    layer = CombinedGraphLayer(width, settings)
    length = math.ceil(max(counts) / bin_size) * bin_size
    n_events = len(counts)
    x = torch.randn(n_events, length, width, requires_grad=True)
    mask = torch.arange(length) < torch.tensor(counts)[:, None]  # (B, N)

    def work() -> None:
        padded = layer.norm(x)
        z = layer.ffn_dist(padded)  # (B, N, d_s)
        layout = RaggedLayout.of(torch.full((n_events,), length), bin_size=bin_size)
        hashes = lsh(z.flatten(0, 1), layer.codebook, layout).view(n_events, length)
        hashes = hashes.masked_fill(~mask, 2 * layout.max_rotations)  # padding goes last
        order = torch.argsort(hashes, dim=1, stable=True)[..., None]  # (B, N, 1)
        m = mask[..., None].gather(1, order).view(-1, bin_size, 1).float()
        nodes = padded.gather(1, order.expand_as(padded)).view(-1, bin_size, width) * m
        z = z.gather(1, order.expand_as(z)).view(len(m), bin_size, -1) * m
        kernel = distance_kernel(z, dist_mult=1.0, clip_value_low=0.0) * (m * m.transpose(1, 2))
        adjacency = normalise_degrees(kernel, m)
        for message in layer.messages:
            hom, het, gate = (nodes @ message.theta_het_gate.T).chunk(3, dim=-1)
            gate = torch.sigmoid(gate + message.gate_bias)
            nodes = torch.nn.functional.elu(torch.lerp(het, adjacency @ hom, gate)) * m
        nodes = nodes.view(n_events, length, width)
        out = torch.zeros_like(nodes).scatter(1, order.expand_as(nodes), nodes)
        torch.autograd.backward(out.square().sum())

    return work


def attention_step(counts: list[int], *, width: int) -> Callable[[], None]:
    """Forward and backward of softmax attention with heads of 16, the fastest size here."""
    torch.manual_seed(0)
    layer = AttentionLayer(AttentionSettings(output_dim=width, num_heads=width // 16))
    x = torch.randn(sum(counts), width, requires_grad=True)

    def work() -> None:
        layout = RaggedLayout.of(torch.tensor(counts), bin_size=64)
        torch.autograd.backward(layer(x, layout).square().sum())

    return work


def print_attention() -> None:
    """Print what full attention costs beside the graph layer."""
    print("\none event of 5,120 elements")
    print("width  bin        graph     attention  ratio")
    for width in (64, 128):
        graph = cpu_seconds(ragged_step([5120], width=width, bin_size=64))
        full = cpu_seconds(attention_step([5120], width=width))
        print(f"{width:5d}   64 {1e3 * graph:9.1f} ms {1e3 * full:10.1f} ms {full / graph:6.2f}")


def main() -> None:
    """Print the three tables."""
    torch.set_num_threads(1)
    print("width  bin   1,024 elements  5,120 elements  exponent")
    for width in (64, 128):
        for bin_size in (64, 128):
            small, large = (
                cpu_seconds(ragged_step([n] * 4, width=width, bin_size=bin_size))
                for n in (1024, 5120)
            )
            exponent = math.log(large / small) / math.log(5)
            print(
                f"{width:5d} {bin_size:4d} {1e3 * small:12.1f} ms {1e3 * large:12.1f} ms"
                f" {exponent:9.2f}"
            )
    fill = sum(RAGGED_EVENTS) / (len(RAGGED_EVENTS) * max(RAGGED_EVENTS))
    print(f"\n{len(RAGGED_EVENTS)} events, fill {fill:.2f}")
    print("width  bin       ragged        padded  ratio")
    for width in (64, 128):
        for bin_size in (64, 128):
            ragged = cpu_seconds(ragged_step(RAGGED_EVENTS, width=width, bin_size=bin_size))
            padded = cpu_seconds(padded_step(RAGGED_EVENTS, width=width, bin_size=bin_size))
            print(
                f"{width:5d} {bin_size:4d} {1e3 * ragged:9.1f} ms {1e3 * padded:10.1f} ms"
                f" {padded / ragged:6.2f}"
            )
    print_attention()


if __name__ == "__main__":
    main()
