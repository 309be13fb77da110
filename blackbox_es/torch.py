"""Gradient estimates for modules of PyTorch, in the place of ``loss.backward()``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blackbox_es import steps
from blackbox_es._validation import as_seed
from blackbox_es.descent_strategy import GradientState
from blackbox_es.evaluation import SurrogateCall
from blackbox_es.gradient_strategy import AntitheticStrategy, estimated
from blackbox_es.strategies import GuidedES, VanillaES
from blackbox_es.tree import Tree, planted

Array = npt.NDArray[Any]
Parameters = dict[str, torch.nn.Parameter]

__all__ = ["ESGradient"]


class ESGradient:
    """Estimates of the gradient of a loss by the parameters of a module, left in their ``.grad``.

    ``g = beta / (2 n sigma^2 P) sum_p d_p [f(x + d_p) - f(x - d_p)]`` from 2 P evaluations without
    a graph, as `estimate_gradient` has it; x is the vector of all parameters that require a
    gradient.
    The loss may be anything that is a number: 0-1 loss, a quantised network, a simulation.

    ::

        x -> directions -> parameters <- x + d, x - d -> loss_fn -> values -> g -> .grad

    While the loss is evaluated the parameters are overwritten. Afterwards they are what they were
    bit for bit, as are buffers, such as running means, after every single evaluation, and the state
    of torch's generators, also if something was raised. Both points of a pair have the same seed of
    torch's generators: they share a dropout mask.

    Parameters
    ----------
    module : torch.nn.Module
    loss_fn : callable
        ``loss_fn(*args) -> float`` or a tensor with one element: evaluates the module.
    guide : None, True or callable
        Where to search besides: along the gradient that is in ``.grad`` now (True), or that of a
        surrogate loss, ``guide(*args) -> tensor``, which torch differentiates: a straight-through
        estimate, a truncated unroll.
    sigma : float or schedule
        Standard deviation of each coordinate of a direction.
    n_pairs : int
        P.
    alpha : float or "auto"
        Share of the variance in the full space, with a guide.
    beta : float, "auto" or None
        None is ``n`` without a guide, which makes g the unbiased gradient of ``E f(x + d)``, and
        "auto" with one.
    common_random_numbers : {"pair", "generation"} or None
        Which evaluations have the same seed; None is none of them.
    random_state : None, int, Generator or RandomState
        Estimates are a function of it, of the parameters, and of how many came before.
    **options
        Further parameters of `VanillaES` or `GuidedES`: ``shaping``, ``catch``, ``n_guides``,
        ``unbiased``, ``sampler``.

    Attributes
    ----------
    n_estimates : int
        Made so far: the index of the noise of the next one.

    Raises
    ------
    TypeError, ValueError
        For invalid parameters, and a module without any that require a gradient.

    References
    ----------
    Salimans, Ho, Chen, Sidor, Sutskever 2017, "Evolution strategies as a scalable alternative to
    reinforcement learning"; Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, "Guided
    evolutionary strategies".

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [-2.0]])
    >>> es = ESGradient(model, lambda: (model(X) - y).abs().round(decimals=2).sum(), random_state=0)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     loss = es.backward()
    ...     optimizer.step()
    >>> model.weight.round()
    tensor([[ 1., -2.]], grad_fn=<RoundBackward0>)
    """

    def __init__(
        self,
        module: torch.nn.Module,
        loss_fn: Callable[..., Any],
        *,
        guide: bool | Callable[..., torch.Tensor] | None = None,
        sigma: Any = 0.1,
        n_pairs: int = 8,
        alpha: float | str = 0.5,
        beta: float | str | None = None,
        common_random_numbers: str | None = "pair",
        random_state: Any = None,
        **options: Any,
    ) -> None:
        if not callable(loss_fn):
            raise TypeError(f"loss_fn={loss_fn!r:.99} is not callable: expected loss_fn(*args)")
        if not (guide is None or guide is True or callable(guide)):
            raise TypeError(f"guide={guide!r:.99}: expected None, True or a function of a loss")
        for name in sorted({"n_jobs", "vectorized", "bounds"} & options.keys()):
            raise ValueError(f"{name}: a module is evaluated here, one point after the other")
        if isinstance(sigma, str):
            raise ValueError(f"sigma={sigma!r} is for searches: give a number or a schedule")
        self.module, self.loss_fn, self.guide = module, loss_fn, guide
        x, _ = _center(_trainable(module))
        es: AntitheticStrategy
        if guide is None:
            es = VanillaES(beta=float(x.size) if beta is None else beta)
        else:
            es = GuidedES(alpha=alpha, beta="auto" if beta is None else beta)
        es.set_params(sigma=sigma, n_pairs=n_pairs, n_jobs=1, optimizer="sgd")
        es.set_params(common_random_numbers=common_random_numbers, **options)
        state = steps.init(es, x)
        assert isinstance(state, GradientState)
        self._es, self._state, self._seed = es, state, as_seed(random_state)

    @property
    def n_estimates(self) -> int:
        return self._state.t

    def backward(self, *args: Any) -> float:
        """Add an estimate to the ``.grad`` of the parameters, as ``loss.backward()`` does.

        With ``guide=True`` it replaces what is there.

        Parameters
        ----------
        *args
            Of ``loss_fn`` and of the guide, such as a batch.

        Returns
        -------
        float
            The mean of the losses.

        Raises
        ------
        Exception
            Whatever the loss raises: nothing has changed then.
        EvaluationError
            If more than half of the pairs failed, NaN or infinite, or a loss is minus infinity.
        ValueError
            If a parameter is not finite, or the parameters are no longer those of the start.
        """
        parameters = _trainable(self.module)
        x, tree = _center(parameters)
        state = self._at(x)
        buffers = [
            (owner, name, buffer, buffer.clone())
            for owner in self.module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]

        def called(function: Callable[..., Any], seed: int) -> Any:
            _seed_generators(seed)
            try:
                return function(*args)
            finally:
                for owner, name, buffer, value in buffers:
                    buffer.data.copy_(value)
                    setattr(owner, name, buffer)  # where it has been replaced

        def loss(x: Array, seed: int) -> Any:
            _write(parameters, x)
            return called(self.loss_fn, seed)

        def surrogate(x: Array, seed: int) -> Any:
            return called(partial(_differentiated, self.guide, parameters), seed)

        cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        try:
            with (
                torch.random.fork_rng(cuda),
                torch.no_grad(),
                self._es.evaluator(loss) as evaluator,
            ):
                guide = None
                if self.guide is True:
                    guide = _flat(parameters, [p.grad for p in parameters.values()])
                elif self.guide is not None:
                    guide = SurrogateCall(surrogate)(x, (self._seed, state.t))
                gradient, state, mean = estimated(self._es, state, self._seed, guide, evaluator)
        finally:
            _write(parameters, x.copy())
        for parameter, part in zip(parameters.values(), tree.show(gradient).values(), strict=True):
            part = part.to(parameter)
            added = parameter.grad is not None and self.guide is not True
            parameter.grad = parameter.grad + part if added else part
        self._state = state
        return mean

    def _at(self, x: Array) -> GradientState:
        """The state at the parameters as they are now."""
        before = self._state.x
        if x.size != before.size or x.dtype != before.dtype:
            raise ValueError(
                f"the module has {x.size} parameters of {x.dtype} that require a gradient, and had "
                f"{before.size} of {before.dtype}: make a new ESGradient"
            )
        return replace(self._state, x=x)


def _trainable(module: torch.nn.Module) -> Parameters:
    """The parameters that require a gradient, by name."""
    found = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not found:
        raise ValueError(f"{type(module).__name__} has no parameter that requires a gradient")
    return found


def _center(parameters: Parameters) -> tuple[Array, Tree]:
    """The vector of parameters, and the tree that it is of."""
    kinds = {torch.bfloat16: torch.float32}  # which NumPy does not have
    x, tree = planted(
        {name: p.detach().to("cpu", kinds.get(p.dtype, p.dtype)) for name, p in parameters.items()}
    )
    assert tree is not None
    return x, tree


def _write(parameters: Parameters, x: Array) -> None:
    """Overwrite the parameters, also under a graph: in the end they are what they were."""
    parts = torch.from_numpy(x).split([p.numel() for p in parameters.values()])
    for parameter, part in zip(parameters.values(), parts, strict=True):
        parameter.data.copy_(part.view(parameter.shape))


def _differentiated(guide: Any, parameters: Parameters, *args: Any) -> Array:
    """The gradient of a surrogate loss."""
    with torch.enable_grad():
        of = list(parameters.values())
        return _flat(parameters, torch.autograd.grad(guide(*args), of, allow_unused=True))


def _flat(parameters: Parameters, gradients: Any) -> Array:
    """The vector of gradients, None is zeros."""
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            "the guide has left no gradient in any parameter: call backward of a surrogate loss "
            "before, or let guide return a loss that depends on the parameters"
        )
    parts = [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters.values(), gradients, strict=True)
    ]
    return np.concatenate([part.detach().cpu().double().numpy().ravel() for part in parts])


def _seed_generators(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # sooner than `torch.manual_seed` without a GPU
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
