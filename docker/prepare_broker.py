"""Writes the broker's configuration, certificate and access list, signed by the fleet's own authority.

Only what mosquitto needs goes into its folder; the authority's key stays in the aggregator's state. Run it again
after a revocation (`compose run --rm prepare`), then send mosquitto SIGHUP (`compose kill -s HUP broker`).
"""

import shutil
import sys
from pathlib import Path

from fed_vit_aggregator import settings as service_settings
from fed_vit_aggregator.keyring import Keyring
from fed_vit_autorl.deployment import broker, fleet_config


def main(config: Path, folder: Path) -> None:
    """Prepares ``folder`` for the service that ``config`` describes."""
    settings = service_settings.load(config)
    region = fleet_config.load(Path(settings.fleet)).federation.region
    authority = Keyring(settings.folder).authority
    certificate, key = authority.issue_server(folder, "broker", [settings.broker.host, "localhost"])
    ca, crl = (shutil.copy(path, folder) for path in (authority.ca_path, authority.crl_path))
    text = broker.configuration(folder, region, "0.0.0.0", settings.broker.port, ca, crl, certificate, key)
    (folder / "mosquitto.conf").write_text(text)
    (folder / "acl").write_text(broker.access_list(region, authority.revoked()))
    (folder / "acl").chmod(0o600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
