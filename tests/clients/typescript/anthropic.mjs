// The package @anthropic-ai/sdk: Messages.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { description, person, place, weather } from "./tools.mjs";

const client = ({ url, key, retries = 0 }) =>
  new Anthropic({ baseURL: url, apiKey: key, maxRetries: retries });

export async function models(setting) {
  const listed = [];
  for await (const model of client(setting).models.list()) listed.push(model.id);
  return { listed, one: await client(setting).models.retrieve(setting.given.model) };
}

export async function messages(setting) {
  const { data, request_id } = await client(setting).messages.create(setting.given).withResponse();
  return { ...data, request_id };
}

export async function messagesStream(setting) {
  const stream = client(setting).messages.stream(setting.given);
  stream.on("text", setting.say);
  return stream.finalMessage();
}

export async function messagesEvents(setting) {
  const stream = await client(setting).messages.create({ ...setting.given, stream: true });
  for await (const event of stream) setting.say(event);
}

export async function messagesTools(setting) {
  const get_weather = betaZodTool({
    name: "get_weather",
    description,
    inputSchema: place,
    run: weather,
  });
  const runner = client(setting).beta.messages.toolRunner({ ...setting.given, tools: [get_weather] });
  const { content, stop_reason, usage } = await runner.runUntilDone();
  return { content, stop_reason, usage, roles: runner.params.messages.map(({ role }) => role) };
}

export async function messagesParse(setting) {
  const answer = await client(setting).messages.parse({
    ...setting.given,
    output_config: { format: zodOutputFormat(person) },
  });
  return answer.parsed_output;
}

export async function messagesAbort(setting) {
  const stream = client(setting).messages.stream(setting.given);
  stream.once("text", () => stream.abort());
  const error = await stream.done().then(
    () => null,
    (raised) => raised.constructor.name,
  );
  return { error, closed: await setting.closed() };
}

export const countTokens = (setting) => client(setting).messages.countTokens(setting.given);

export async function thread(setting) {
  const { messages, ...given } = setting.given;
  return client(setting).beta.messages.thread(given).send(messages);
}
