"""The offline commands: train, extract, calibrate, evaluate, interpret."""
