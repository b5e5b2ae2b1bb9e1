// What both SDK clients do: read what is asked from the command line, do it in order, print one JSON object.
"use strict";

const described = (error) => ({
  kind: error?.constructor?.name ?? typeof error,
  code: error?.code ?? null,
  message: String(error?.message ?? error),
  data: error?.data ?? null,
});

// Answers every form by the kinds of its fields, so that a call that asks goes on by itself.
const fill = async (request) => {
  const properties = request.params?.requestedSchema?.properties ?? {};
  const value = ({ type, enum: values }) =>
    values ? values[0] : type === "boolean" ? true : type === "number" || type === "integer" ? 1 : "Ada";
  const content = Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, value(schema)]));
  return { action: "accept", content };
};

// The methods that both SDKs have names for; what has none goes out as it is.
const named = {
  "tools/list": "listTools",
  "tools/call": "callTool",
  "prompts/list": "listPrompts",
  "prompts/get": "getPrompt",
  "resources/list": "listResources",
  "resources/templates/list": "listResourceTemplates",
  "resources/read": "readResource",
};

exports.runActions = async (build) => {
  const asked = JSON.parse(process.argv[2]);
  const report = { version: null, server: null, failed: null, outcomes: [] };
  const { client, transport, version, other } = build(asked, fill);
  try {
    await client.connect(transport);
    report.version = version() ?? null;
    report.server = client.getServerVersion()?.name ?? null;
    for (const [method, params] of asked.actions) {
      try {
        const name = named[method];
        report.outcomes.push({ result: await (name ? client[name](params) : other(method, params)) });
      } catch (error) {
        report.outcomes.push({ error: described(error) });
      }
    }
    await transport.terminateSession().catch(() => undefined);
  } catch (error) {
    report.failed = described(error);
  }
  await client.close().catch(() => undefined);
  process.stdout.write(JSON.stringify(report) + "\n", () => process.exit(0));
};
