"""Draw the ME module and the network for docs/design.md: `python docs/draw_network.py`.

What the pictures say of layers and sizes is read from the modules as they run, so that it cannot differ from the code.
"""

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from menet_mm.models import MEModule, MENet
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text

FOLDER = Path(__file__).resolve().parent / 'images'
ARCH = '228-12x1-g3'
SIDE = 224  # of the image, in pixels
MAIN, MERGE, EVOLVE, PLAIN = '#dbe7f5', '#fde3b5', '#d5ecd0', '#f1f1f1'  # the last: no weights
HALVES = '#7fa3cf'  # units of stride 2
WIDTH, HEIGHT, ROW = 144, 44, 74  # of a box, and from one box down to the next
PANELS = 400, 515  # width of the unit of stride 1, and of stride 2
BAR, GAP = 18, 5  # width of a unit in the network, and between two

#: The output of each module for one image.
Outputs = dict[nn.Module, Tensor]


def run_once(net: MENet) -> Outputs:
    outputs: Outputs = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
        for module in net.modules()
        if module is not net
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(1, net.in_channels, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    return outputs


def size_of(x: Tensor) -> str:
    return ' x '.join(map(str, x.shape[1:]))


def lines_of(layer: nn.Module) -> list[str]:
    """A layer in two lines: its kind, and what belongs to it."""
    if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
        kind = 'average' if isinstance(layer, nn.AvgPool2d) else 'maximum'
        return [f'{layer.kernel_size}x{layer.kernel_size} {kind}', f'stride {layer.stride}']
    assert isinstance(layer, ConvModule)
    conv, k, stride = layer.conv, layer.conv.kernel_size[0], layer.conv.stride[0]
    depthwise = conv.groups == conv.in_channels
    groups = f', {conv.groups} groups' if conv.groups > 1 and not depthwise else ''
    details = [f'stride {stride}'] * (stride > 1) + ['norm'] * layer.with_norm
    if layer.with_activation:
        details.append(type(layer.activate).__name__.replace('Sigmoid', 'sigmoid'))
    return [f'{k}x{k} {"depthwise " * depthwise}conv{groups}', ', '.join(details)]


class Drawing:
    """An SVG picture, element by element; places are in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        tip = '<path d="M0,0 L8,4 L0,8 z" fill="#333"/>'
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="Helvetica, Arial, sans-serif">',
            f'<title>{escape(title)}</title>',
            '<!-- Made by docs/draw_network.py. -->',
            f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto">{tip}</marker></defs>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def text(self, x: float, y: float, text: str, anchor: str = 'middle', size: int = 13, bold: bool = False) -> None:
        look = f'text-anchor="{anchor}" font-size="{size}"' + ' font-weight="bold"' * bold
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {look}>{escape(text)}</text>')

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self.parts.append(f'<rect {place} rx="4" fill="{fill}" stroke="#555"/>')

    def box(self, x: float, y: float, lines: list[str], fill: str) -> None:
        """A box around x, y."""
        self.rectangle(x - WIDTH / 2, y - HEIGHT / 2, WIDTH, HEIGHT, fill)
        for i, line in enumerate(lines):
            self.text(x, y + 4 + 17 * (i - (len(lines) - 1) / 2), line)

    def sign(self, x: float, y: float, sign: str) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{HEIGHT / 2:g}" fill="{PLAIN}" stroke="#555"/>')
        self.text(x, y + 8, sign, size=24)

    def arrow(self, *points: tuple[float, float]) -> None:
        path = ' '.join(f'{x:g},{y:g}' for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="#333" marker-end="url(#tip)"/>')

    def down(self, x: float, upper: float, lower: float, size: str) -> None:
        """An arrow from the box at ``upper`` to that at ``lower``, with the size of what flows along it."""
        self.arrow((x, upper + HEIGHT / 2), (x, lower - HEIGHT / 2))
        self.text(x + 6, (upper + lower) / 2 + 5, size, 'start')

    def render(self) -> str:
        return '\n'.join([*self.parts, '</svg>\n'])


def draw_unit(to: Drawing, unit: MEModule, x: Tensor, outputs: Outputs, left: float) -> None:
    """A unit from top to bottom: the skip on the left, the main path, and the side path on the right."""
    main = left + (235 if unit.pool else 125)  # the pool stands on the skip
    skip, side = main - (160 if unit.pool else 105), main + 180
    y = [100 + ROW * row for row in range(8)]
    joined = 'concatenation' if unit.pool else '+'
    to.text(main, 24, f'Unit of stride {2 if unit.pool else 1}', size=16, bold=True)
    to.text(main + 6, 62, size_of(x), 'start')
    to.text(main, 46, 'x')
    to.arrow((main, 50), (main, y[0] - HEIGHT / 2))

    bottleneck, gated = size_of(outputs[unit.compress]), size_of(outputs[unit.depthwise])
    to.box(main, y[0], lines_of(unit.compress), MAIN)
    to.down(main, y[0], y[1], bottleneck)
    to.box(main, y[1], ['channel shuffle', f'{unit.groups} groups'], PLAIN)
    to.down(main, y[1], y[3], bottleneck)
    to.box(main, y[3], lines_of(unit.depthwise), MAIN)
    to.down(main, y[3], y[4], gated)
    to.sign(main, y[4], '\N{MULTIPLICATION SIGN}')
    to.down(main, y[4], y[5], gated)
    to.box(main, y[5], lines_of(unit.expand), MAIN)
    to.down(main, y[5], y[6], size_of(outputs[unit.expand]))
    if unit.pool:
        to.box(main, y[6], [joined], PLAIN)
    else:
        to.sign(main, y[6], joined)
    to.down(main, y[6], y[7], size_of(outputs[unit]))
    to.box(main, y[7], [type(unit.act).__name__], PLAIN)
    to.arrow((main, y[7] + HEIGHT / 2), (main, y[7] + ROW / 2 + 18))

    draw_side_path(to, unit, outputs, main, side, y)
    edge = main - (WIDTH if unit.pool else HEIGHT) / 2
    if unit.pool:
        to.box(skip, y[3], lines_of(unit.pool), PLAIN)
        to.arrow((main, 60), (skip, 60), (skip, y[3] - HEIGHT / 2))
        to.arrow((skip, y[3] + HEIGHT / 2), (skip, y[6]), (edge, y[6]))
        to.text(skip + 6, y[4] + 5, size_of(outputs[unit.pool]), 'start')
    else:
        to.arrow((main, 60), (skip, 60), (skip, y[6]), (edge, y[6]))


def draw_side_path(to: Drawing, unit: MEModule, outputs: Outputs, main: float, side: float, y: list[float]) -> None:
    """Merging and evolution, from behind the shuffle to the gate."""
    path, fork = unit.side, y[1] + HEIGHT / 2 + 12
    to.arrow((main, fork), (side, fork), (side, y[2] - HEIGHT / 2))
    to.text(side + 8, y[2] - HEIGHT / 2 - 8, 'merging', 'start', bold=True)
    to.box(side, y[2], lines_of(path.merge), MERGE)
    to.down(side, y[2], y[3], size_of(outputs[path.merge]))
    to.text(side - 8, (y[2] + y[3]) / 2 + 5, 'evolution', 'end', bold=True)
    to.box(side, y[3], lines_of(path.conv), EVOLVE)
    to.down(side, y[3], y[4], size_of(outputs[path.conv]))
    to.box(side, y[4], lines_of(path.evolve), EVOLVE)
    to.arrow((side - WIDTH / 2, y[4]), (main + HEIGHT / 2, y[4]))
    to.text((side + main - WIDTH / 2 + HEIGHT / 2) / 2, y[4] - 8, 'gate')


def draw_network(to: Drawing, net: MENet, outputs: Outputs) -> None:
    """Every unit of the network as a bar, which is as high as its map is large."""
    axis, right = 190, 50.0

    def group(name: str, note: str, maps: list[Tensor], fills: list[str], out: str = '') -> None:
        """Bars side by side, with the size of the last map below them, and an arrow to it if it is an output."""
        nonlocal right
        left, right = right, right + (BAR + GAP) * len(maps) - GAP
        heights = [16 * x.shape[-1] ** 0.5 for x in maps]
        for i, (height, fill) in enumerate(zip(heights, fills, strict=True)):
            to.rectangle(left + (BAR + GAP) * i, axis - height / 2, BAR, height, fill)
        if out:
            to.arrow((right - BAR / 2, axis + heights[-1] / 2), (right - BAR / 2, axis + 122))
        lines = ((24, name, True), (42, note, False), (axis + 140, size_of(maps[-1]), False), (axis + 158, out, False))
        for y, line, bold in lines:
            to.text((left + right) / 2, y, line, bold=bold)
        right += 84

    group('image', '', [torch.empty(1, net.in_channels, SIDE, SIDE)], ['white'])
    for layer, note in zip(net.stem, ('convolution', 'maximum'), strict=True):
        group('stem', note, [outputs[layer]], [HALVES])
    for i, stage in enumerate(net.stages):
        maps = [outputs[unit] for unit in stage]
        fills = [HALVES if unit.pool else MAIN for unit in stage]
        group(f'stage {i}', f'{len(stage)} units', maps, fills, f'output {i}, stride {SIDE // maps[-1].shape[-1]}')
    to.rectangle(40, axis + 180, BAR, BAR, HALVES)
    to.text(66, axis + 194, 'has stride 2', 'start')


def render() -> dict[str, str]:
    """The pictures by name of their file."""
    net = MENet(ARCH, out_indices=(0, 1, 2))
    outputs = run_once(net)
    units = Drawing(sum(PANELS), 700, f'The two units of MENet {ARCH} in its second stage')
    halving, keeping = net.stages[1][0], net.stages[1][1]
    draw_unit(units, keeping, outputs[halving], outputs, 0)
    draw_unit(units, halving, outputs[net.stages[0]], outputs, PANELS[0])
    network = Drawing(950, 400, f'MENet {ARCH} at {SIDE} px')
    draw_network(network, net, outputs)
    return {'me_module.svg': units.render(), 'network.svg': network.render()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in render().items():
        write_text(FOLDER / name, text)
        print(FOLDER / name)


if __name__ == '__main__':
    run(main)
