"""MLPF: machine-learned particle flow, the model the papers tuned."""
