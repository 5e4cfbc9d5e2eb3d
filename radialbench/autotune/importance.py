"""How much each axis of a space mattered, by Optuna's PED-ANOVA."""

from collections.abc import Sequence

from radialbench.autotune.evaluator import Trial
from radialbench.autotune.space import Space

FEWEST = 20
"""Trials with a time from which on there is an answer: five of them are then the best quarter, the
fewest that its authors advise."""


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Give each axis's share in what made the best quarter of the trials better than the others.

    Unlike fANOVA it needs no more than NumPy, and is not misled by a search that tried more where
    it was better.

    Returns:
        Shares that add up to 1, the largest first; nothing with fewer than `FEWEST` times.
    """
    import optuna
    from optuna.distributions import BaseDistribution, IntDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    timed = [(trial.ms, space.place(trial.config)) for trial in trials if trial.ms is not None]
    if len(timed) < FEWEST:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    axes: dict[str, BaseDistribution] = {
        axis.name: IntDistribution(0, len(axis.values) - 1) for axis in space.axes
    }
    for ms, place in timed:
        params = dict(zip(axes, place or (), strict=True))
        study.add_trial(optuna.trial.create_trial(value=ms, params=params, distributions=axes))
    found = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25)
    )
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
