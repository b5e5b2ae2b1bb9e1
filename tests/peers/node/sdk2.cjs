// A client on the TypeScript SDK's second line, which speaks both generations: `era` is `legacy` or `auto`.
"use strict";

const { createRequire } = require("node:module");
const { runActions } = require("./actions.cjs");

const packages = createRequire(process.env.GATEWARDEN_NODE_PEERS + "/package.json");
const { Client, StreamableHTTPClientTransport } = packages("@modelcontextprotocol/client");

runActions((asked, fill) => {
  const client = new Client(
    { name: "typescript-2", version: "1.0" },
    { capabilities: { elicitation: {} }, versionNegotiation: { mode: asked.era } },
  );
  client.setRequestHandler("elicitation/create", fill);
  const transport = new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers: asked.headers } });
  return {
    client,
    transport,
    version: () => client.getNegotiatedProtocolVersion(),
    other: (method, params) => client.request({ method, params }),
  };
});
