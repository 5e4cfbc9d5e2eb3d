"""DenseSchedule: which layers and denoising steps attend densely."""

from radialbench.errors import IntegrationError


class DenseSchedule:
    """The first layers and denoising steps that stay dense, and where a video stands.

    A step is a timestep: guidance calls a model twice with one, solvers of higher order too, and it
    counts once. A timestep with more noise than the last begins another video.

    Attributes:
        layers: First layers that are dense.
        steps: First denoising steps that are dense.
        rising: Whether timesteps rise as noise falls.
        step: Number of the step, from 0.
        dense: Whether the step is dense. A truth value kept apart from the number: what
            `torch.compile` made is made again where it changes, not at every step.

    Raises:
        IntegrationError: A number is no count.
    """

    def __init__(self, layers: int = 0, steps: int = 0, *, rising: bool = False) -> None:
        for name, count in (("dense_layers", layers), ("dense_steps", steps)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise IntegrationError(f"{name} must be a whole number from 0, got {count!r}")
        self.layers = layers
        self.steps = steps
        self.rising = rising
        self.step = 0
        self.dense = steps > 0
        self._noise: float | None = None

    def at(self, timestep: float) -> None:
        """Say at which timestep the model is called next."""
        noise = -timestep if self.rising else timestep
        if self._noise is None or noise > self._noise:
            self.step = 0
        elif noise < self._noise:
            self.step += 1
        self._noise = noise
        self.dense = self.step < self.steps

    def is_dense(self, layer: int | None = None) -> bool:
        """Tell whether a layer attends densely now; if none is given, whether any does."""
        return self.dense or (layer is not None and layer < self.layers)
