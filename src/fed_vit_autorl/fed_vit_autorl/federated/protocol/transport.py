"""The MQTT 5 link of both ends: a thin shell around paho with TLS, a persistent session and resubscription on every
connect.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

logger = logging.getLogger(__name__)

SESSION_EXPIRY_S = 7 * 86400
KEEPALIVE_S = 30
RECEIVE_MAXIMUM = 256


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and who we are to it (mutual TLS)."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.3, server verified against `ca`, client certificate loaded."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        return context


class Link:
    """Publishes at QoS 1 and hands over what arrives; reconnects by itself. QoS is not durability: reliability is the
    caller's.

    Callbacks run on paho's thread and must return at once.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        subscriptions: Sequence[str],
        on_message: Callable[[str, bytes], None],
        on_connection: Callable[[bool], None] = lambda connected: None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.connected = threading.Event()
        self._address = address
        self._subscriptions = [(topic, paho.SubscribeOptions(qos=1)) for topic in subscriptions]
        self._on_message, self._on_connection = on_message, on_connection
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        self._client.tls_set_context(address.context())
        # paho doubles the first delay; one of their own keeps a fleet from coming back in step.
        self._client.reconnect_delay_set(min_delay=random.uniform(0.5, 2.0), max_delay=30)
        self._client.max_inflight_messages_set(64)
        self._client.max_queued_messages_set(1024)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = lambda client, data, message: self._on_message(message.topic, message.payload)

    def start(self) -> None:
        """Connects in the background; a broker that is not there yet is tried again."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        self._client.connect_async(
            self._address.host, self._address.port, KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Hands a message to the broker; False when there is no connection or no room, and then it is gone."""
        if not self.connected.is_set():
            return False
        return self._client.publish(topic, payload, qos=1, retain=retain).rc == paho.MQTT_ERR_SUCCESS

    def stop(self, farewell: Mapping[str, bytes] | None = None) -> None:
        """Publishes the retained `farewell`, disconnects and ends the thread."""
        for topic, payload in (farewell or {}).items():
            if self.connected.is_set():
                self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: paho.Client, data: object, flags: object, reason: paho.ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            logger.warning("broker %s:%d refuses: %s", self._address.host, self._address.port, reason)
            return
        # Always: the broker may have lost the session that it says it has.
        if self._subscriptions:
            client.subscribe(self._subscriptions)
        self.connected.set()
        self._on_connection(True)

    def _disconnected(
        self, client: paho.Client, data: object, flags: object, reason: paho.ReasonCode, properties: object
    ) -> None:
        self.connected.clear()
        logger.info("connection to the broker ended: %s", reason)
        self._on_connection(False)
