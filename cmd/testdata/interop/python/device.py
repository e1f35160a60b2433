"""A device with Python's ssl and paho-mqtt. It is called, and tells what happened, as ../c/device.h says."""

import importlib.metadata
import platform
import ssl
import sys

import paho.mqtt.client as paho

TOPIC, PAYLOAD, PATIENCE = "v1/devices/me/telemetry", '{"temperature":25}', 10


def main(host, port, root, *credential):
    print(f"Python {platform.python_version()} ({ssl.OPENSSL_VERSION}), paho-mqtt {importlib.metadata.version('paho-mqtt')}")
    step = "root"
    try:
        context = ssl.create_default_context(cafile=root)
        step = "credential"
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        if len(credential) == 2:
            context.load_cert_chain(*credential)
        else:
            with open(credential[0], encoding="utf-8") as file:
                client.username_pw_set(file.read().strip())
        client.tls_set_context(context)
        refused = []
        client.on_connect = lambda _client, _data, _flags, reason, _properties: refused.append(reason)
        step = "tls"  # paho dials in the same call
        client.connect(host, int(port), keepalive=60)
        step = "connect"
        while not refused:
            if (fault := client.loop(timeout=PATIENCE)) != paho.MQTT_ERR_SUCCESS:
                raise OSError(paho.error_string(fault))
        if refused[0].is_failure:
            raise OSError(refused[0])
        step = "publish"
        message = client.publish(TOPIC, PAYLOAD, qos=1)
        while not message.is_published():
            if (fault := client.loop(timeout=PATIENCE)) != paho.MQTT_ERR_SUCCESS:
                raise OSError(paho.error_string(fault))
        client.disconnect()
    except (OSError, ValueError) as error:
        print(f"{step}: {error}")
        return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
