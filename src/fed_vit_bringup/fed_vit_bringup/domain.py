"""A ROS domain that nobody else on this machine uses."""

import os
import random
import socket

# DDSI-RTPS 2.5, 9.6.2.3: port base 7400, domain gain 250, offset 10 for the first participant's unicast discovery.
PORT_BASE, DOMAIN_GAIN, UNICAST_OFFSET = 7400, 250, 10
HIGHEST = 100  # above it the ports reach into Linux's ephemeral range


def free_domain() -> int:
    """ROS_DOMAIN_ID where it is set, else the id of a domain without a participant on this machine."""
    if os.environ.get("ROS_DOMAIN_ID"):
        return int(os.environ["ROS_DOMAIN_ID"])
    candidates = random.sample(range(1, HIGHEST + 1), HIGHEST)
    return next((domain for domain in candidates if _is_free(domain)), candidates[0])


def _is_free(domain: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", PORT_BASE + DOMAIN_GAIN * domain + UNICAST_OFFSET))
        except OSError:
            return False
    return True
