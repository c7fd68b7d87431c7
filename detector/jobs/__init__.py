"""The offline commands: cifar10, train, extract, calibrate."""

__all__: list[str] = []
