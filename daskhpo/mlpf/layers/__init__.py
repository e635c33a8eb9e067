"""The layers of MLPF: LSH graphs, GravNet, and two kinds of attention, all on ragged events."""
