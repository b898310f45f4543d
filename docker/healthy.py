"""Exit status 0 while the aggregator says that it is healthy."""

import ssl
import sys
import urllib.request
from pathlib import Path

from fed_vit_aggregator import settings as service_settings

settings = service_settings.load(Path("config/aggregator.yaml"))
address = settings.operators
trust = ssl.create_default_context(cafile=settings.folder / "pki" / "ca.crt")
with urllib.request.urlopen(f"https://{address.host}:{address.port}/healthz", timeout=4, context=trust) as answer:
    sys.exit(answer.status != 200)
