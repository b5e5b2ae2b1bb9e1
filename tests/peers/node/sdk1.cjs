// A client on the TypeScript SDK's first line: connects, does what it is asked, prints what came back.
"use strict";

const { createRequire } = require("node:module");
const { runActions } = require("./actions.cjs");

const packages = createRequire(process.env.GATEWARDEN_NODE_PEERS + "/package.json");
const { Client } = packages("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = packages("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ElicitRequestSchema, ResultSchema } = packages("@modelcontextprotocol/sdk/types.js");

runActions((asked, fill) => {
  const client = new Client({ name: "typescript-1", version: "1.0" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, fill);
  const transport = new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers: asked.headers } });
  return {
    client,
    transport,
    version: () => transport.protocolVersion,
    other: (method, params) => client.request({ method, params }, ResultSchema),
  };
});
