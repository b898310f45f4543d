"""The driving policy network: a small actor on perception's result and the route, and a critic for reinforcement."""

import torch
from torch import Tensor, nn

from fed_vit_autorl.reinforcement.policy_io import EGO_WIDTH, OBJECT_WIDTH, SECTORS, input_shapes
from fed_vit_autorl.reinforcement.route import PATH_POINTS, PATH_SPACING_M
from fed_vit_autorl.simulation.vehicle import VehicleParameters

ACCELERATION_RANGE = (-6.0, 2.0)
MAX_OFFSET_M = 1.0
MAX_SPEED = 20.0
STEERING_RESIDUAL = 0.05
RESIDUAL_HEADS = ("longitudinal.", "lateral.")
"""Prefixes of the weights that, set to zero, leave the model-based proposals alone."""


class Encoder(nn.Module):
    """The policy's inputs (see `policy_io`) → (B, width)."""

    def __init__(self, feature_width: int, width: int) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(feature_width)
        # From zero: where demonstrations come without pictures these weights never move, and real features do no harm.
        self.vision = nn.Linear(feature_width + SECTORS, 16)
        nn.init.zeros_(self.vision.weight)
        nn.init.zeros_(self.vision.bias)
        self.objects = nn.Sequential(nn.Linear(OBJECT_WIDTH, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.route = nn.Sequential(nn.Linear(3 * PATH_POINTS, 64), nn.ReLU())
        self.mix = nn.Sequential(nn.Linear(16 + 48 + 64 + EGO_WIDTH, width), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, features: Tensor, objects: Tensor, free_space: Tensor, ego: Tensor, route: Tensor) -> Tensor:
        # The score, an object's last number, is above zero for objects that exist.
        present = (objects[..., -1:] > 0.0).to(objects.dtype)
        crowd = (self.objects(objects) * present).amax(dim=1)
        vision = torch.tanh(self.vision(torch.cat((self.normalise(features), free_space), dim=1)))
        return self.out(self.mix(torch.cat((vision, crowd, self.route(route.flatten(1)), ego), dim=1)))


class VisionPolicy(nn.Module):
    """Actor: perception's features and objects, ego motion and route → steering, acceleration, path, target speed.

    Residual learning on model-based proposals (Silver et al. 2018): the path is the route with a learned offset,
    steering is pure pursuit of that path with a small learned correction, and acceleration is the least of those that
    free road, route end, light and lead allow, with a learned correction. An error of the network moves the vehicle
    inside its lane instead of off the road.
    """

    def __init__(self, feature_width: int, width: int = 128, vehicle: VehicleParameters | None = None) -> None:
        super().__init__()
        self.feature_width, self.width = feature_width, width
        self.wheelbase = (vehicle or VehicleParameters()).wheelbase
        self.encoder = Encoder(feature_width, width)
        self.longitudinal = nn.Linear(width, 2)
        self.lateral = nn.Linear(width, 3)
        for head in (self.longitudinal, self.lateral):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(
        self, features: Tensor, objects: Tensor, free_space: Tensor, ego: Tensor, route: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`control` (B, 2), `path` (B, 20, 2), `target_speed` (B, 1)."""
        hidden = self.encoder(features, objects, free_space, ego, route)
        low, high = ACCELERATION_RANGE
        longitudinal = self.longitudinal(hidden)
        acceleration = (allowed(ego)[:, None] + longitudinal[:, :1]).clamp(low, high)
        target_speed = MAX_SPEED * torch.sigmoid(longitudinal[:, 1:])
        lateral = torch.tanh(self.lateral(hidden))
        path = self._path(route, MAX_OFFSET_M * lateral[:, :2])
        steering = self._pursue(path, 10.0 * ego[:, 0]) + STEERING_RESIDUAL * lateral[:, 2]
        return torch.cat((steering[:, None], acceleration), dim=1), path, target_speed

    @staticmethod
    def _path(route: Tensor, offset: Tensor) -> Tensor:
        """The route's waypoints moved to the left by an offset that goes from the first value to the second."""
        points = 20.0 * route[..., :2]
        steps = torch.diff(points, dim=1)
        steps = torch.cat((steps, steps[:, -1:]), dim=1)
        normal = torch.stack((-steps[..., 1], steps[..., 0]), dim=-1)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        ramp = torch.linspace(0.0, 1.0, PATH_POINTS, dtype=route.dtype, device=route.device)
        shift = offset[:, :1] * (1.0 - ramp) + offset[:, 1:] * ramp
        # The path begins where the vehicle is, so that the offset does not jump under it.
        onset = torch.tensor([min(4.0 * place / (PATH_POINTS - 1), 1.0) for place in range(PATH_POINTS)])
        return points + normal * (shift * onset.to(shift))[..., None]

    def _pursue(self, path: Tensor, speed: Tensor) -> Tensor:
        """Pure pursuit, δ = atan(2 L y / d²), of the point 0.9 s ahead, at least 4 m and at most 15 m."""
        ahead = ((0.9 * speed).clamp(4.0, 15.0) / PATH_SPACING_M - 1.0)[:, None]
        index = torch.arange(PATH_POINTS, dtype=path.dtype, device=path.device)
        weight = (1.0 - (index - ahead).abs()).clamp(min=0.0)
        x, y = (path * weight[..., None]).sum(dim=1).unbind(dim=1)
        return torch.atan(2.0 * self.wheelbase * y / (x * x + y * y).clamp(min=1.0))


def allowed(ego: Tensor) -> Tensor:
    """The least acceleration (B,) [m/s²] that free road, route end, light and lead allow, from the `ego` input."""
    return 4.0 * ego[:, -4:].amin(dim=1)


class Critic(nn.Module):
    """State value (B,) on the same inputs, with an encoder of its own; never exported."""

    def __init__(self, feature_width: int, width: int = 128) -> None:
        super().__init__()
        self.encoder = Encoder(feature_width, width)
        self.value = nn.Linear(width, 1)

    def forward(self, features: Tensor, objects: Tensor, free_space: Tensor, ego: Tensor, route: Tensor) -> Tensor:
        return self.value(self.encoder(features, objects, free_space, ego, route)).squeeze(1)


def example_inputs(feature_width: int, batch: int = 1) -> dict[str, Tensor]:
    """Zero inputs of the right names and shapes, for export."""
    return {name: torch.zeros(batch, *shape) for name, shape in input_shapes(feature_width).items()}
