"""Reading images between, around and beyond their pixels; sums of shifted images throughout.

Convolution and matrix products would be shorter, but how they round depends on the batch's size.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["filtered", "gaussian", "mirrored", "read_at", "smoothed", "streaked", "zoomed"]


def mirrored(index: Tensor, side: int) -> Tensor:
    """Whole positions on an endless line, folded to 0..side - 1: b a | a b c | c b."""
    folded = index.remainder(2 * side)
    return torch.minimum(folded, 2 * side - 1 - folded)


def gaussian(offsets: Tensor, sigma: float) -> Tensor:
    """Weights of a normal distribution at some offsets, with sum 1, float64."""
    weights = (-offsets.to(torch.float64).square() / (2 * sigma**2)).exp()
    return weights / weights.sum()


def filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Each value becomes a weighted sum of those around it.

    Args:
        images: Floats of shape (B, C, H, W).
        kernel: Weights of shape (h, w), both odd.
    """
    height, width = images.shape[2:]
    up, left = (side // 2 for side in kernel.shape)
    rows = mirrored(torch.arange(-up, height + up), height)
    columns = mirrored(torch.arange(-left, width + left), width)
    padded = images[:, :, rows][..., columns]
    total = torch.zeros_like(images)
    for down, weights in enumerate(kernel.tolist()):
        for across, weight in enumerate(weights):
            total += weight * padded[..., down : down + height, across : across + width]
    return total


def smoothed(images: Tensor, sigma: float, *, reach: float) -> Tensor:
    """A Gaussian filter along both axes.

    Args:
        images: Floats of shape (B, C, H, W).
        sigma: Standard deviation in pixels, positive.
        reach: Where the filter ends, in standard deviations.
    """
    radius = int(reach * sigma + 0.5)
    kernel = gaussian(torch.arange(-radius, radius + 1), sigma)
    return filtered(filtered(images, kernel[:, None]), kernel[None, :])


def read_at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images read at other positions, bilinearly.

    Args:
        images: Floats of shape (B, C, H, W).
        rows: Row to read for each pixel, in pixels, float of shape (B, h, w).
        columns: Column to read for each pixel, likewise.

    Returns:
        Floats of shape (B, C, h, w).
    """
    height, width = images.shape[2:]
    flat = images.flatten(2)  # (B, C, H * W)
    top, left = rows.floor(), columns.floor()
    down, across = (rows - top).unsqueeze(1), (columns - left).unsqueeze(1)

    def corner(row: Tensor, column: Tensor) -> Tensor:
        index = mirrored(row.long(), height) * width + mirrored(column.long(), width)
        chosen = index.flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1)
        return flat.gather(2, chosen).view(*flat.shape[:2], *index.shape[1:])

    upper = corner(top, left) * (1 - across) + corner(top, left + 1) * across
    lower = corner(top + 1, left) * (1 - across) + corner(top + 1, left + 1) * across
    return upper * (1 - down) + lower * down


def zoomed(images: Tensor, factor: float) -> Tensor:
    """Enlarged around the centre and cut to size, bilinearly.

    Args:
        images: Floats of shape (B, C, H, W).
        factor: How much larger, at least 1.
    """
    for axis in (2, 3):
        side = images.shape[axis]
        centre = (side - 1) / 2
        position = (torch.arange(side) - centre) / factor + centre
        before = position.floor().clamp(0, side - 1)
        share = (position - before).view(-1, *[1] * (3 - axis))
        after = (before + 1).clamp(max=side - 1)
        low, high = (images.index_select(axis, index.long()) for index in (before, after))
        images = low * (1 - share) + high * share
    return images


def streaked(images: Tensor, direction: tuple[Tensor, Tensor], radius: int, sigma: float) -> Tensor:
    """Drawn out to one side, as ImageMagick's motion blur: half a Gaussian along a line.

    Args:
        images: Floats of shape (B, C, H, W).
        direction: Cosine and sine of each image's angle, each of shape (B,).
        radius: The line has twice as many pixels, and one.
        sigma: Standard deviation of the Gaussian in pixels.
    """
    height, width = images.shape[2:]
    flat = images.flatten(2)
    cosine, sine = (part.view(-1, 1, 1) for part in direction)
    total = torch.zeros_like(flat)
    steps = torch.arange(2 * radius + 1)
    for step, weight in enumerate(gaussian(steps, sigma).tolist()):
        rows = torch.arange(height).view(-1, 1) + (step * sine).round().long()
        columns = torch.arange(width) + (step * cosine).round().long()
        index = mirrored(rows, height) * width + mirrored(columns, width)  # (B, H, W)
        total += weight * flat.gather(2, index.flatten(1).unsqueeze(1).expand_as(flat))
    return total.view_as(images)
