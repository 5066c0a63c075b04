"""What the gates of the ME path look like in a picture, and what a model finds without them.

Shape letters are defined in :mod:`menet_mm.models.me_module`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from menet_mm.models import MergingEvolution
from menet_mm.utils.pictures import shrink

#: What :func:`switch_gates` makes of the gates: as they are learnt; each channel's mean, which has the same strength
#: everywhere; and no side path at all.
SWITCHES = ('on', 'mean', 'off')


def find_gates(model: nn.Module) -> dict[str, MergingEvolution]:
    """Find the ME paths of a model, in its order: by stage and unit of MENet, such as ``stage 1, unit 2``, else by place."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, MergingEvolution):
            place = re.search(r'(?:^|\.)stages\.(\d+)\.(\d+)\.side$', name)
            found[f'stage {int(place[1]) + 1}, unit {int(place[2]) + 1}' if place else name] = module
    return found


@contextmanager
def switch_gates(model: nn.Module, to: str) -> Iterator[None]:
    """Inside the block, the gates are as one of :data:`SWITCHES` says.

    Switched off, a unit is ShuffleNet's with the same weights: a gate that multiplies is 1, a map that is added is 0.
    """

    def change(module: MergingEvolution, _: tuple, gate: Tensor) -> Tensor:
        if to == 'mean':
            return gate.mean((2, 3), keepdim=True).expand_as(gate)
        return torch.ones_like(gate) if module.fusion == 'multiply' else torch.zeros_like(gate)

    with ExitStack() as stack:
        for module in find_gates(model).values() if to != 'on' else ():
            stack.callback(module.register_forward_hook(change).remove)
        yield


def gate_maps(
    model: nn.Module, predict: Callable[[np.ndarray], dict[str, np.ndarray]], picture: np.ndarray, longest: int = 640
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Show where the gates of a model let features pass: the mean of each over its channels, spread over the picture.

    ``predict`` is what :func:`~menet_mm.apis.inference.as_predictor` makes of an inferencer of ``model``; ``picture`` is
    (H, W, 3), 8 bit, blue first. Returns maps (h, w) by the names of :func:`find_gates`, the picture (h, w, 3) that they lie on,
    and what ``predict`` returns. That is the whole picture for a detector, with sides of at most ``longest`` pixels. A
    classifier's is the part that its network sees, at the network's size.
    """
    gates: dict[str, Tensor] = {}
    seen: list[dict] = []

    def note(name: str) -> Callable:
        return lambda module, inputs, gate: gates.update({name: gate.detach()[0].mean(0).float().cpu()})

    with ExitStack() as stack:
        stack.callback(model.data_preprocessor.register_forward_hook(lambda *args: seen.append(args[-1])).remove)
        for name, module in find_gates(model).items():
            stack.callback(module.register_forward_hook(note(name)).remove)
        found = predict(picture)

    inputs, sample = seen[-1]['inputs'][0], seen[-1]['data_samples'][0]
    detector = 'boxes' in found
    # A detector's picture lies in the corner of what is padded; a classifier's fills its input.
    height, width = sample.img_shape[:2] if detector else inputs.shape[-2:]
    picture = shrink(picture, longest) if detector else _restore(inputs, model.data_preprocessor)
    maps = {}
    for name, gate in gates.items():
        whole = functional.interpolate(gate[None, None], inputs.shape[-2:], mode='bilinear', align_corners=False)
        maps[name] = cv2.resize(whole[0, 0, :height, :width].numpy(), picture.shape[1::-1])
    return maps, picture, found


def _restore(inputs: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Undo the normalization of a network's input (3, h, w): a picture (h, w, 3), 8 bit, blue first."""
    pixels = inputs.detach().cpu()
    if hasattr(preprocessor, 'mean'):  # which a config may leave out
        pixels = pixels * preprocessor.std.cpu() + preprocessor.mean.cpu()
    pixels = pixels.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels[..., ::-1] if preprocessor.to_rgb else pixels)


def mean_of_stages(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Average maps of :func:`gate_maps` over the units of each stage; those of other networks stay as they are."""
    stages: dict[str, list[np.ndarray]] = {}
    for name, one in maps.items():
        stages.setdefault(name.split(', unit')[0], []).append(one)
    return {name: np.mean(of_stage, axis=0) for name, of_stage in stages.items()}


def draw_map(picture: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Colour a picture (h, w, 3), blue first, by a map (h, w): its lowest value is blue, its highest yellow."""
    low, high = float(one.min()), float(one.max())
    shares = np.uint8(255 * (one - low) / max(high - low, 1e-9))
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(cv2.applyColorMap(shares, cv2.COLORMAP_VIRIDIS), 0.65, grey, 0.35, 0)
