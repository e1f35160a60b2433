#!/usr/bin/env node
// Sends one telemetry message to ThingsBoard over MQTTS, as the device that this directory belongs to.
//
// Written by tbcert. It needs the package mqtt (npm install mqtt) and the files of this directory.
//
//   node publish.js                      sends {"temperature":25}
//   node publish.js '{"humidity":61.5}'  sends that instead

'use strict';

const fs = require('node:fs');
const path = require('node:path');
const mqtt = require('mqtt');

const host = "tb.example.com";
const port = 8883;
const topic = "v1/devices/me/telemetry";

const file = (name) => fs.readFileSync(path.join(__dirname, name));
const text = (name) => file(name).toString('utf8').replace(/[\r\n]+$/, '');

async function main() {
  const payload = process.argv[2] ?? '{"temperature":25}';
  JSON.parse(payload);
  const client = await mqtt.connectAsync({
    protocol: 'mqtts',
    host,
    port,
    reconnectPeriod: 0,
    ca: file("ca-root.pem"),
    clientId: text("client-id"),
    username: text("username"),
    password: text("password"),
  }, false);
  await client.publishAsync(topic, payload, { qos: 1 });
  await client.endAsync();
  console.log('published', payload);
}

main().catch((error) => {
  console.error(error.message || error);
  process.exit(1);
});
