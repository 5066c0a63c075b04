"""Registries of menet_mm, children of mmengine's root registries.

In a config, write ``type='menet_mm.MENet'``: the prefix makes mmengine import this module, and ``locations`` makes it
import the modules on the first look-up. Nothing else needs to be imported.
"""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='menet_mm', locations=['menet_mm.models'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='menet_mm', locations=['menet_mm.hooks'])
