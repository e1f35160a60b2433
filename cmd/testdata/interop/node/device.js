// A device with Node.js' own TLS. It is called, and tells what happened, as ../c/device.h says.
'use strict';
const fs = require('node:fs');
const net = require('node:net');
const tls = require('node:tls');

const [host, port, root, tokenOrCert, key] = process.argv.slice(2);
let step = 'root';

function failed(reason) {
  console.log(`${step}: ${reason}`);
  process.exit(1);
}

function text(value) {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(Buffer.byteLength(value));
  return Buffer.concat([size, Buffer.from(value)]);
}

function packet(kind, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([kind, body.length]), body]);
}

console.log(`Node.js ${process.versions.node} (OpenSSL ${process.versions.openssl})`);
try {
  const options = { host, port: Number(port), ca: fs.readFileSync(root), servername: net.isIP(host) ? '' : host, autoSelectFamily: true };
  step = 'credential';
  let token = '';
  if (key) {
    options.cert = fs.readFileSync(tokenOrCert);
    options.key = fs.readFileSync(key);
  } else {
    token = fs.readFileSync(tokenOrCert, 'utf8').trim();
  }
  step = 'tcp';
  const socket = tls.connect(options);
  const steps = [
    ['connect', packet(0x10, text('MQTT'), Buffer.from([4, token ? 0x82 : 0x02, 0, 60]), text(''), token ? text(token) : Buffer.alloc(0)), '20020000'],
    ['publish', packet(0x32, text('v1/devices/me/telemetry'), Buffer.from([0, 1]), Buffer.from('{"temperature":25}')), '40020001'],
  ];
  let current = -1;
  let got = Buffer.alloc(0);
  const next = () => {
    current += 1;
    if (current === steps.length) {
      socket.end(packet(0xe0));
      console.log('ok');
      process.exit(0);
    }
    step = steps[current][0];
    socket.write(steps[current][1]);
  };
  socket.on('connect', () => { step = 'tls'; });
  socket.on('secureConnect', next);
  socket.on('data', (data) => {
    got = Buffer.concat([got, data]);
    if (got.length < 4) return;
    const answer = got.subarray(0, 4).toString('hex');
    if (answer !== steps[current][2]) failed(`the answer is ${answer}`);
    got = got.subarray(4);
    next();
  });
  socket.on('error', (error) => failed(error.code && !error.message.includes(error.code) ? `${error.message} (${error.code})` : error.message));
  socket.on('close', () => failed('the connection was closed'));
  socket.setTimeout(10000, () => failed('no answer'));
} catch (error) {
  failed(error.message);
}
