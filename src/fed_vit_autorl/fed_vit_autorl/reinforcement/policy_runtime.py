"""A release's policy, ready to run, and refused where it does not take what `policy_io` makes."""

from pathlib import Path

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.release import Manifest, Reason, ReleaseRefused
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.reinforcement.policy_io import input_shapes

MODEL = "policy"


def feature_width(folder: Path, manifest: Manifest) -> int:
    """Length of the features that the release's perception gives. Raises ReleaseRefused without a perception."""
    _, outputs = release.unpack_golden(release.read_file(folder, manifest, release.GOLDEN), "perception")
    if "features" not in outputs:
        raise ReleaseRefused(Reason.BAD_INPUTS, "no perception whose features the policy could take")
    return outputs["features"].shape[1]


def load_policy(folder: Path, manifest: Manifest, provider: str = "cpu") -> runtime.ModelRuntime:
    """The policy of a verified release.

    Raises ReleaseRefused(bad_inputs) for one that takes anything but `policy_io`'s inputs with the features of the
    release's own perception, and what `runtime.load` raises.
    """
    shapes = {name: (1, *shape) for name, shape in input_shapes(feature_width(folder, manifest)).items()}
    return runtime.load(folder, manifest, MODEL, provider, expected_inputs=shapes)
