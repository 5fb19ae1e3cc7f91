"""The loss, and the validation figures."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

BOUNDARY_WEIGHT = 4.0
DISTILLATION = 0.5


def boundary(truth: torch.Tensor) -> torch.Tensor:
    """1 within about two cells of an outline, else 0; [n, 1, h, w]."""
    return (functional.avg_pool2d(truth, 5, 1, 2, count_include_pad=False) - truth).abs().gt(0.02).float()


def loss(
    logits: torch.Tensor, truth: torch.Tensor, teacher: torch.Tensor, distillation: float = DISTILLATION
) -> dict[str, torch.Tensor]:
    """Binary cross-entropy with the truth, heavier at outlines; Dice per picture; cross-entropy with the teachers'
    mean. All [n, 1, h, w]. Cells that the truth calls background and the teachers a person are left out of the first
    two: the truth marks one person a photograph, and passers-by must not be taught as background."""
    known = 1 - ((truth < 0.1) & (teacher > 0.5)).float()
    weight = (1 + (BOUNDARY_WEIGHT - 1) * boundary(truth)) * known
    cross_entropy = functional.binary_cross_entropy_with_logits(
        logits, truth, weight, reduction="sum"
    ) / weight.sum().clamp(min=1)
    person = torch.sigmoid(logits) * known
    both, sizes = (person * truth).sum((1, 2, 3)), (person.square() + truth.square()).sum((1, 2, 3))
    cells = truth[0].numel()
    # The constant keeps the loss of a picture without people finite, and small.
    dice = (1 - (2 * both + cells / 200) / (sizes + cells / 200)).mean()
    distilled = functional.binary_cross_entropy_with_logits(logits, teacher)
    return {
        "loss": cross_entropy + dice + distillation * distilled,
        "cross_entropy": cross_entropy,
        "dice": dice,
        "distillation": distilled,
    }


def ious(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """IoU of each picture at threshold 0.5, on the net's grid; 1 where both are empty. [n]"""
    found, wanted = logits > 0, truth >= 0.5
    union = (found | wanted).sum((1, 2, 3))
    return torch.where(
        union > 0, (found & wanted).sum((1, 2, 3)) / union.clamp(min=1), torch.ones_like(union, dtype=torch.float32)
    )
