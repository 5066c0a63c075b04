"""Misspelt keys of a config, found before anything is built."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop, set_random_seed
from torch.utils.data import DataLoader

from menet_mm.errors import InputError
from menet_mm.utils.stack import is_number

REGISTRIES = [value for value in vars(registries).values() if isinstance(value, registries.Registry)]
#: Top-level names that mmengine or our tools read, besides the parameters of Runner.
MORE_NAMES = ('custom_imports', 'data_hint', 'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'sync_bn')
#: Keys that are taken out of a dict before its class is called, and the one that goes with ``--amp``.
MORE_KEYS = ('type', '_scope_', '_delete_', 'priority', 'by_epoch', 'convert_to_iter_based')
MORE_KEYS += ('constructor', 'paramwise_cfg', 'loss_scale')
LOADER_KEYS = ('batch_sampler', 'dataset', 'disable_subprocess_warning', 'num_batch_per_epoch', 'sampler')
#: What reads the dicts that need no type.
READERS: dict[str, Callable] = dict(train_cfg=EpochBasedTrainLoop, val_cfg=ValLoop, test_cfg=TestLoop)
READERS |= dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), DataLoader)
READERS |= dict(optim_wrapper=OptimWrapper, randomness=set_random_seed, model_wrapper_cfg=MMDistributedDataParallel)


def check_keys(cfg: Config, options: dict | None = None) -> None:
    """Check the keys of a config, and of options that are to be merged into it, against what reads them.

    A dict with a ``type`` is compared with the parameters of its class, top-level names with the runner's; keys that a class
    hands to another library pass. ``InputError`` names the first key that nothing reads, or that holds text for a number.
    """
    names = [*inspect.signature(Runner).parameters, *MORE_NAMES]
    known = {*names, 'tta_model', 'tta_pipeline'} | {'input_size'} & set(cfg)
    given = {_check_option(cfg, option, known) for option in options or ()}
    if options:
        cfg = deepcopy(cfg)
        cfg.merge_from_dict(deepcopy(options))
    for name in cfg:
        if name in known:
            _check(cfg[name], name, cfg.get('default_scope'), given)
        elif near := get_close_matches(name, names, 1, cutoff=0.88):  # a file may have variables of any other name
            raise InputError(f'the config sets {name}, which nothing reads: did you mean {near[0]}?')


def _check_option(cfg: dict, option: str, known: Collection[str]) -> str:
    """Follow an option through the config; returns its part that is there, and the first key that is not."""
    path, *rest = option.split('.')
    if path not in known:
        parts = [found for name in cfg if name in known for found in _paths(cfg[name], name)]
        near = [found for found in parts if found.endswith(f'.{path}')]
        near += ['.'.join([right, *rest]) for right in get_close_matches(path, known, 1)]
        raise InputError(f'--cfg-options {option}: nothing reads it' + (f'; did you mean {near[0]}?' if near else ''))
    node = cfg.get(path, {})
    for key in rest:
        items = _items(node)
        if items is None:
            raise InputError(f'--cfg-options {option}: {path} is {node!r} in the config and has no keys of its own')
        if key not in items:
            if isinstance(node, list | tuple):
                raise InputError(f'--cfg-options {option}: {path} is a list of {len(node)}, counted from 0')
            near = get_close_matches(key, node, 1, cutoff=0.85)
            if near and 'type' not in node and path not in READERS:
                raise InputError(f'--cfg-options {option}: did you mean {path}.{near[0]}?')
            return f'{path}.{key}'
        node, path = items[key], f'{path}.{key}'
    return path


def _items(node: object) -> dict | None:
    """What keys lead to in a dict or, by index as ``--cfg-options`` takes it, in a list; None of anything else."""
    if isinstance(node, list | tuple):
        return {str(index): value for index, value in enumerate(node)}
    return node if isinstance(node, dict) else None


def _paths(node: object, path: str) -> Iterator[str]:
    yield path
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from _paths(value, f'{path}.{key}')


def _check(node: object, path: str, scope: str | None, given: Collection[str]) -> None:
    """Compare a part of the config with what reads it; unknown keys are refused if ``given`` as options or nearly right."""
    items = _items(node) or {}
    scope = items.get('_scope_', scope)
    if 'type' in items:
        readers = _find(items['type'], scope)
    elif path == 'train_cfg' and not items.get('by_epoch', True):
        readers = [IterBasedTrainLoop]
    else:
        readers = [READERS[path]] if path in READERS else []
    found = [_parameters_of(reader) for reader in readers]
    takes = {known for parameters, _ in found for known in parameters}
    takes |= set(LOADER_KEYS) if readers == [DataLoader] else set()
    for key, value in items.items():
        place = f'{path}.{key}'
        if readers and key not in MORE_KEYS:
            name = getattr(readers[0], '__name__', repr(readers[0]))  # a partial has none
            if isinstance(value, str) and all(parameters.get(key) for parameters, _ in found):
                raise InputError(f"{place} of {name} must be a number, but is '{value}'")
            unknown = key not in takes and all(complete for _, complete in found)
            near = get_close_matches(key, takes, 1, cutoff=0.82) if unknown else []
            if near or (unknown and place in given):
                hint = f'did you mean {path}.{near[0]}?' if near else f'it takes {", ".join(sorted(takes))}'
                raise InputError(f'{place} is no setting of {name}: {hint}')
        _check(value, place, scope, given)


def _find(kind: str | Callable, scope: str | None) -> list[Callable]:
    """All that a type may name, since only building tells in which registry it is looked for."""
    if not isinstance(kind, str):
        return [kind]
    given, _, name = kind.rpartition('.')
    if scope := given or scope:
        if '.' in scope or not find_spec(scope) or not find_spec(f'{scope}.registry'):
            return []
        import_module(f'{scope}.registry')
    found = [registry.children.get(scope, registry).get(name) for registry in REGISTRIES]
    return list(dict.fromkeys(filter(None, found)))


@cache
def _parameters_of(reader: Callable) -> tuple[dict[str, bool], bool]:
    """Parameters of a function or class, and of parents that get all of its ``**kwargs``: if numbers; if these are all."""
    found: dict[str, bool] = {}
    parents = [vars(parent) for parent in getattr(reader, '__mro__', ())]
    for step in [parent['__init__'] for parent in parents if '__init__' in parent] or [reader]:
        try:  # not of what a decorator wraps: it may rename keys, as mmcv's for old names does
            parameters = inspect.signature(step, follow_wrapped=False).parameters.values()
        except (TypeError, ValueError):  # written in C
            return found, False
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != 'self']
        found = {p.name: is_number(p.default) and 'str' not in str(p.annotation) for p in named} | found
        rest = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
        if not rest or not _hands_on(step, rest[0]):
            return found, not rest
    return found, False


def _hands_on(function: Callable, rest: str) -> bool:
    """Whether all that a constructor does with ``**kwargs`` is to hand it on to another ``__init__``."""
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    except (OSError, TypeError, SyntaxError):
        return False
    calls = [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == '__init__']
    handed = [word.value for call in calls for word in call.keywords if word.arg is None]
    used = [node for node in nodes if isinstance(node, ast.Name) and node.id == rest]
    return bool(used) and all(node in handed for node in used)
