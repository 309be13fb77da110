"""Networks: a population of them evaluated at once, and scikit-learn estimators trained by ES.

From what a network is to what is fitted: `activations`, `losses` and `metrics` (computed by
`ranking`) are tables with a row for each, `data` are examples, `network` is one network; `kernels`
evaluate many, as `layout` and `tasks` lay them out; `objective` and `nodes` are what is minimised,
by moving weights or activations, over the examples that `examples` draws; `descent` is how a
generation moves the weights, and `penalty` what draws them to zero; `mlp` (with
`given` and `fitted`), `training`, `classifier`, `perceptron` and `estimators` are what users fit.

`goals` says what the parameter `loss` means: a row of `losses`, a metric, or with `scoring` what is
the user's; `standins` guide where a loss has no slope, and `units` are those of the network.

Beside `network`, `sequential` is a network of `layers`, whose weights `quantisers` make few; many
of them are evaluated by `points` and by `layer_noise`, and `conv_net` is what users fit. `tuner`
moves the weights of other estimators, `tuning` how and how far, and `conversion` says how they are
networks. `safe_mutation` gives each parameter a scale by what it does to the outputs.
"""

from blackbox_es.neural.conv_net import ESConvNetClassifier
from blackbox_es.neural.estimators import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.safe_mutation import safe_sigmas
from blackbox_es.neural.tuner import ESTuner

__all__ = ["ESConvNetClassifier", "ESMLPClassifier", "ESMLPRegressor", "ESTuner", "safe_sigmas"]
