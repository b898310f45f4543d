"""LunarLander-v3: how many episodes local, federated and hybrid learners need, every client's steps counted.

Solved, as published: the mean return of the last 100 training episodes reaches 200. Federated clients step in turn, one
step each per tick; the fleet is solved when the mean over the last 100 episodes of each client reaches 200. Schedules
in seconds are taken at the simulator's 50 steps per second.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np

from fed_vit_autorl.reinforcement.algorithms.dqn import DQN, DQNConfig
from fed_vit_autorl.reinforcement.algorithms.fusion import DiversityFilter, average, fuse
from fed_vit_autorl.reinforcement.algorithms.replay import ReplayBuffer

STEPS_PER_SECOND = 50
SOLVED_RETURN = 200.0
WINDOW = 100
MAX_EPISODES = 2000
MAX_STEPS = 1000
TEST_EPISODES = 100


@dataclass(frozen=True)
class Schedule:
    """How a fleet shares, in seconds of simulated time.

    Attributes:
        share_transitions: clients send transitions and the server learns from them (hybrid), else parameters only.
        keep: α of the fusion; 0 replaces the server's parameters by the clients' average.
        diversity: least mean distance of a shared transition, 0 shares all.
    """

    share_transitions: bool
    keep: float = 0.8
    weights_s: float = 15.0
    transitions_s: float = 30.0
    aggregate_s: float = 30.0
    learn_s: float = 0.5
    diversity: float = 0.15


FEDAVG = Schedule(share_transitions=False, keep=0.0)
FUSION = Schedule(share_transitions=True)


@dataclass(frozen=True)
class Outcome:
    """One run: episodes per client and steps of all clients until solved, and the greedy policy's mean test return."""

    solved: bool
    episodes: float
    total_steps: int
    reward: float


def lander() -> gymnasium.Env:
    """The environment, without gymnasium's checks of what it returns."""
    return gymnasium.make("LunarLander-v3", max_episode_steps=MAX_STEPS, disable_env_checker=True)


class Client:
    """A learner in its own environment."""

    def __init__(self, config: DQNConfig, seed: int) -> None:
        self.environment = lander()
        self.learner = DQN(8, 4, config, seed)
        self.buffer = ReplayBuffer(config.buffer_size, (8,), seed=seed)
        self.epsilon = 1.0
        self.steps = 0
        self.returns: list[float] = []
        self.shared = 0
        self._config = config
        self._return = 0.0
        self._observation, _ = self.environment.reset(seed=seed)

    def step(self) -> bool:
        """One environment step, and learning where it is due; True at the end of an episode."""
        action = self.learner.act(self._observation, self.epsilon)
        following, reward, terminated, truncated, _ = self.environment.step(action)
        self.buffer.add(self._observation, action, reward, following, terminated)
        self._observation, self._return, self.steps = following, self._return + float(reward), self.steps + 1
        if len(self.buffer) >= self._config.batch_size and self.steps % self._config.train_every == 0:
            self.learner.learn(self.buffer.sample(self._config.batch_size))
        if terminated or truncated:
            self.returns.append(self._return)
            self._return = 0.0
            self.epsilon = max(self._config.epsilon_end, self.epsilon * self._config.epsilon_decay)
            self._observation, _ = self.environment.reset()
        return terminated or truncated

    def unshared(self) -> dict[str, np.ndarray]:
        """The transitions since the last call, at most a buffer's worth."""
        fresh = np.arange(max(self.shared, self.steps - self.buffer.capacity), self.steps) % self.buffer.capacity
        self.shared = self.steps
        return self.buffer.at(fresh)


def solved(returns: Sequence[float]) -> bool:
    """Whether the last 100 episodes have a mean return of at least 200."""
    return len(returns) >= WINDOW and float(np.mean(returns[-WINDOW:])) >= SOLVED_RETURN


def greedy_return(learner: DQN, seed: int) -> float:
    """Mean return of the greedy policy over episodes that no training saw."""
    environment = lander()
    total = 0.0
    for episode in range(TEST_EPISODES):
        observation, _ = environment.reset(seed=1_000_000 + 1000 * seed + episode)
        done = False
        while not done:
            observation, reward, terminated, truncated, _ = environment.step(learner.act(observation))
            total += float(reward)
            done = terminated or truncated
    return total / TEST_EPISODES


def run_local(config: DQNConfig, seed: int, max_episodes: int = MAX_EPISODES) -> Outcome:
    """One learner alone."""
    client = Client(config, seed)
    while len(client.returns) < max_episodes and not solved(client.returns):
        client.step()
    return Outcome(
        solved(client.returns),
        len(client.returns),
        client.steps,
        greedy_return(client.learner, seed),
    )


def run_fleet(
    config: DQNConfig, clients: int, schedule: Schedule, seed: int, max_episodes: int = MAX_EPISODES
) -> Outcome:
    """Several learners and a server, until the fleet as a whole has solved the task."""
    fleet = [Client(config, 100 * seed + index) for index in range(clients)]
    server = DQN(8, 4, config, seed)
    for client in fleet:
        client.learner.load(server.parameters())
    shared = ReplayBuffer(config.buffer_size * clients, (8,), seed=seed)
    filters = [DiversityFilter(schedule.diversity, seed=seed + index) for index in range(clients)]
    uploads: dict[int, dict] = {}
    recent: deque[float] = deque(maxlen=WINDOW * clients)
    finished = 0
    owed = 0.0
    tick = 0
    while finished < max_episodes * clients:
        tick += 1
        for client in fleet:
            if client.step():
                recent.append(client.returns[-1])
                finished += 1
        if len(recent) == recent.maxlen and np.mean(recent) >= SOLVED_RETURN:
            break
        if due(tick, schedule.weights_s):
            uploads = {index: client.learner.parameters() for index, client in enumerate(fleet)}
        if schedule.share_transitions:
            if due(tick, schedule.transitions_s):
                for client, chooser in zip(fleet, filters, strict=True):
                    batch = client.unshared()
                    chosen = chooser.keep(batch)
                    owed += chosen.sum() / config.train_every
                    shared.extend({name: values[chosen] for name, values in batch.items()})
            if due(tick, schedule.learn_s) and len(shared) >= config.batch_size:
                # The server learns as often per transition as a client does, spread over the time between uploads.
                steps = min(owed, owed * schedule.learn_s / schedule.transitions_s + 1)
                owed -= steps
                for _ in range(round(steps)):
                    server.learn(shared.sample(config.batch_size))
        if due(tick, schedule.aggregate_s) and uploads:
            received = list(uploads.values())
            merged = fuse(server.parameters(), received, schedule.keep) if schedule.keep else average(received)
            server.load(merged)
            for client in fleet:
                client.learner.load(merged)
    final = server if schedule.share_transitions else fleet[0].learner
    ok = len(recent) == recent.maxlen and float(np.mean(recent)) >= SOLVED_RETURN
    return Outcome(ok, finished / clients, tick * clients, greedy_return(final, seed))


def due(tick: int, seconds: float) -> bool:
    """Whether something that happens every ``seconds`` happens at this tick."""
    return tick % max(1, round(seconds * STEPS_PER_SECOND)) == 0
