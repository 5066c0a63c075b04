"""The channels_last memory format in training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from menet_mm.engine.memory_format import give_channels_last
from menet_mm.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Give images to the backbone in the channels_last memory format, unless they are on a GPU.

    The function is the same up to the order of summation. Where it is faster is measured in docs/deployment.md: on one thread
    with small pictures, but not on two with large ones.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert what the backbone takes from now on."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # An exported model has no backbone and its own format.
        self._handles = give_channels_last(model) if hasattr(model, 'backbone') else []

    def after_run(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
