'use strict';

// Sends image files to an Offpath server, in one call, and prints what it says about each.

const { randomUUID } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { parseArgs } = require('node:util');

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const USAGE = 'Usage: node check.js [--server HOST:PORT] [--deadline-ms N] IMAGE...';

// Messages by full name; the server's contract is read as it stands, no code is generated.
const protocol = protoLoader.loadSync(['offpath/v1/detection.proto', 'error_details.proto'], {
  includeDirs: [join(__dirname, '..', '..', '..', 'proto'), __dirname],
  keepCase: true,
  defaults: true,
  enums: String,
  longs: Number,
});
const { offpath } = grpc.loadPackageDefinition(protocol);

async function main() {
  const { files, server, deadlineMs } = readArguments();
  const client = new offpath.v1.DetectionService(server, grpc.credentials.createInsecure());
  try {
    const reply = await detect(client, files, deadlineMs);
    reply.detections.forEach((detection, index) => console.log(`${files[index]}: ${said(detection)}`));
  } catch (error) {
    if (typeof error.code !== 'number') throw error; // not one of gRPC's
    console.error(explained(error).join('\n'));
    process.exitCode = 1;
  } finally {
    client.close();
  }
}

function readArguments() {
  const { values, positionals } = parseArgs({
    options: {
      server: { type: 'string', default: '127.0.0.1:50051' },
      'deadline-ms': { type: 'string', default: '10000' },
    },
    allowPositionals: true,
  });
  const deadlineMs = Number(values['deadline-ms']);
  if (positionals.length === 0 || !(deadlineMs > 0)) throw new TypeError(USAGE);
  return { files: positionals, server: values.server, deadlineMs };
}

// The deadline travels with the call: the server drops what it could only answer too late.
function detect(client, files, deadlineMs) {
  const request = { images: files.map((file) => ({ encoded: readFileSync(file) })) };
  const metadata = new grpc.Metadata();
  metadata.set('x-request-id', randomUUID());
  return new Promise((resolve, reject) => {
    client.Detect(request, metadata, { deadline: Date.now() + deadlineMs }, (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
  });
}

function said({ label, verdict, p_value: pValue, reason }) {
  return `${label} ${verdict.replace('VERDICT_', '')} p=${pValue.toPrecision(3)} ${reason}`;
}

// An error line by line: its status, and what its details add for programs.
function explained(error) {
  const lines = detailsOf(error).map(({ type, message }) => {
    switch (type) {
      case 'google.rpc.ErrorInfo':
        return [`  reason ${message.reason}, request id ${message.metadata.request_id}`];
      case 'google.rpc.BadRequest':
        return message.field_violations.map(({ field, description }) => `  ${field}: ${description}`);
      case 'google.rpc.RetryInfo':
        return [`  try again in ${seconds(message.retry_delay).toFixed(2)} s`];
      default:
        return [];
    }
  });
  return [`${grpc.status[error.code]}: ${error.details}`, ...lines.flat()];
}

// A trailer of this name holds a google.rpc.Status with messages of several types. An error that
// the client itself raises, such as that of a server that is not there, has none.
function detailsOf(error) {
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (packed === undefined) return [];
  const { details } = protocol['google.rpc.Status'].deserialize(packed);
  return details
    .map(({ type_url: url, value }) => ({ type: url.slice(url.lastIndexOf('/') + 1), value }))
    .filter(({ type }) => type in protocol)
    .map(({ type, value }) => ({ type, message: protocol[type].deserialize(value) }));
}

function seconds({ seconds: whole, nanos }) {
  return whole + nanos / 1e9;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
