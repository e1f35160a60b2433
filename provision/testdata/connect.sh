#!/bin/sh
# Sends one telemetry message to ThingsBoard over MQTTS, as the device that this
# directory belongs to. Written by tbcert provision.
#
#   ./connect.sh                      sends {"temperature":25}
#   ./connect.sh '{"humidity":61.5}'  sends that instead
#
# It needs only mosquitto_pub, ca-root.pem and token. While mosquitto_pub runs,
# the token stands in the list of processes of this machine.
set -eu

CDPATH='' cd -- "$(dirname -- "$0")"

if ! command -v mosquitto_pub >/dev/null 2>&1; then
	echo "connect.sh: mosquitto_pub is not installed; it comes with the mosquitto clients" >&2
	echo "  Debian, Ubuntu: apt install mosquitto-clients    Alpine: apk add mosquitto-clients" >&2
	echo "  Fedora, RHEL: dnf install mosquitto              macOS: brew install mosquitto" >&2
	exit 127
fi
if ! [ -r token ]; then
	echo "connect.sh: cannot read $(pwd)/token; run this as the user who owns that file" >&2
	exit 1
fi

message='{"temperature":25}'
if [ $# -gt 0 ]; then
	message=$1
fi

exec mosquitto_pub --cafile ca-root.pem -d -q 1 -h 2001:db8::1 -p 8883 -t v1/devices/me/telemetry -u "$(cat token)" -m "$message"
