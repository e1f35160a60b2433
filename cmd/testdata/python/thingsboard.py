"""Uses ThingsBoard's own packages for Python as their users do.

Reads from stdin as JSON where the sandbox is and what the devices have, lets
the devices publish, and writes to stdout as JSON what the REST clients see.
"""

import json
import sys

from tb_ce_client import ThingsboardClient
from tb_device_mqtt import TBDeviceMqttClient, TBPublishInfo
from tb_rest_client import RestClient


def publish(at, device):
    """Publishes with the files of a bundle; returns when ThingsBoard has the values."""
    client = TBDeviceMqttClient(at["host"], at["mqtts_port"], username=device.get("token", ""))
    client.connect(
        tls=True, ca_certs=device["root"], cert_file=device.get("certificate"), key_file=device.get("key")
    )
    try:
        # It waits for the connection itself, and get() but a second for the answer.
        sent = client.send_telemetry(device["telemetry"], quality_of_service=1)
        for message in sent.message_info:
            message.wait_for_publish(timeout=at["patience"])
            if not message.is_published():
                raise SystemExit(f"{device['name']}: nothing acknowledges the telemetry")
        if sent.get() != TBPublishInfo.TB_ERR_SUCCESS:
            raise SystemExit(f"{device['name']}: the telemetry ends with {sent.get()}")
    finally:
        client.disconnect()
        client.stop()


def seen(found, credentials):
    return {
        "name": found.name,
        "credentials_type": credentials.credentials_type,
        "credentials_id": credentials.credentials_id,
        "credentials_value": credentials.credentials_value,
    }


def rest_client(at, names):
    """What tb-rest-client sees."""
    with RestClient(at["url"], timeout=at["patience"]) as client:
        client.login(at["user"], at["password"])
        devices = [client.get_tenant_device(name) for name in names]
        page = client.get_tenant_devices(page_size=10, page=0)
        return {
            "devices": [seen(d, client.get_device_credentials_by_device_id(d.id)) for d in devices],
            "listed": [d.name for d in page.data],
        }


def ce_client(at, names):
    """What tb-ce-client sees."""
    with ThingsboardClient(at["url"], at["user"], at["password"]) as client:
        devices = [client.get_tenant_device_by_name(name) for name in names]
        page = client.get_tenant_devices(page_size=10, page=0)
        return {
            "devices": [seen(d, client.get_device_credentials_by_device_id(str(d.id.id))) for d in devices],
            "listed": [d.name for d in page.data],
        }


def main():
    at = json.load(sys.stdin)
    for device in at["devices"]:
        publish(at, device)
    names = [device["name"] for device in at["devices"]]
    json.dump({"tb-rest-client": rest_client(at, names), "tb-ce-client": ce_client(at, names)}, sys.stdout)


main()
