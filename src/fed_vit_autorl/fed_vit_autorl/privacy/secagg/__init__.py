"""Secure aggregation by double masking (Bonawitz et al. 2017) on a neighbour graph (Bell et al. 2020).

A vehicle adds to its quantised update a mask of its own and one per neighbour that cancels against the neighbour's.
It gives Shamir shares of the seed of its own mask and of the key behind the pairwise ones to its neighbours. After the
masked updates are in, the survivors reveal, for each vehicle, *either* a share of the seed (it survived) *or* of the
key (it dropped out), never both, and the server learns the sum and nothing else.

Security: a server that follows the protocol but reads everything, together with fewer vehicles than the threshold
of shares, learns only the sum. A server that names different survivors to different vehicles gains nothing as long
as fewer than 2t - (k + 1) of a vehicle's k neighbours help it (t the threshold of shares, always a majority).
Signatures of the vehicles on their keys stop a server that invents vehicles.
"""

from .client import SecAggClient
from .refusal import SecAggReason, SecAggRefused
from .server import SecAggServer
from .settings import SecAggSettings

__all__ = ["SecAggClient", "SecAggReason", "SecAggRefused", "SecAggServer", "SecAggSettings"]
