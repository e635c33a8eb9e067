"""The HEPscore benchmark: how many events a second a machine trains MLPF on."""
