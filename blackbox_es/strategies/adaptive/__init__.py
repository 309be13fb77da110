"""`AdaptiveES`, and what it is made of: two runs, what each of them knows, and who is next.

strategy    parameters, and the three functions
portfolio   whose turn it is, what is kept, and when runs begin anew
evolution   one run from ranks: center, scale, metric
descent     one run along slopes: `ray` searches a line, `quasi_newton` aims it
guide       how far surrogates of the slope are followed
noise_level what part of the values is noise
runs        what runs begin with, cost, and end as
"""

from blackbox_es.strategies.adaptive.strategy import AdaptiveES

__all__ = ["AdaptiveES"]
