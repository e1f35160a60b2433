#!/usr/bin/env python3
"""Sends one telemetry message to ThingsBoard over MQTTS, as the device that this directory belongs to.

Written by tbcert. It needs paho-mqtt (pip install "paho-mqtt>=2") and the files of this directory.

    python3 publish.py                      sends {"temperature":25}
    python3 publish.py '{"humidity":61.5}'  sends that instead
"""

import json
import pathlib
import sys
import threading

import paho.mqtt.client as mqtt

HOST = "tb.example.com"
PORT = 8883
TOPIC = "v1/devices/me/telemetry"
HERE = pathlib.Path(__file__).resolve().parent


def text(name):
    """What a file holds, without the end of the line."""
    return (HERE / name).read_text(encoding="utf-8").rstrip("\r\n")


def connect():
    """A client that is connected as this device."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(HERE / "ca-root.pem"), certfile=str(HERE / "cert.pem"), keyfile=str(HERE / "key.pem"))
    answered = threading.Event()
    answers = []

    def on_connect(_client, _userdata, _flags, reason, _properties):
        answers.append(reason)
        answered.set()

    client.on_connect = on_connect
    client.connect(HOST, PORT)
    client.loop_start()
    if not answered.wait(20):
        sys.exit("ThingsBoard does not answer")
    if answers[0].is_failure:
        sys.exit(f"ThingsBoard refused the connection: {answers[0]}")
    return client


def main():
    payload = sys.argv[1] if len(sys.argv) > 1 else '{"temperature":25}'
    json.loads(payload)
    client = connect()
    message = client.publish(TOPIC, payload, qos=1)
    message.wait_for_publish(20)
    client.disconnect()
    client.loop_stop()
    if not message.is_published():
        sys.exit("ThingsBoard did not acknowledge the message")
    print("published", payload)


main()
