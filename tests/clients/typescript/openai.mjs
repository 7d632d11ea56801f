// The package openai: chat completions, completions and Responses.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { description, parameters, person, weather } from "./tools.mjs";

const client = ({ url, key, retries = 0 }) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: retries });

export async function models(setting) {
  const listed = [];
  for await (const model of client(setting).models.list()) listed.push(model.id);
  return { listed, one: await client(setting).models.retrieve(setting.given.model) };
}

export const chat = (setting) => client(setting).chat.completions.create(setting.given);

export async function chatStream(setting) {
  const stream = await client(setting).chat.completions.create({
    ...setting.given,
    stream: true,
    stream_options: { include_usage: true },
  });
  let last;
  for await (last of stream) setting.say(last.choices[0]?.delta.content ?? "");
  return last;
}

export async function chatHelper(setting) {
  const stream = client(setting).chat.completions.stream(setting.given);
  stream.on("content", setting.say);
  return stream.finalChatCompletion();
}

export async function chatTools(setting) {
  const get_weather = { name: "get_weather", description, parameters, parse: JSON.parse };
  const runner = client(setting).chat.completions.runTools({
    ...setting.given,
    tools: [{ type: "function", function: { ...get_weather, function: weather } }],
  });
  return { text: await runner.finalContent(), roles: runner.messages.map(({ role }) => role) };
}

export async function chatParse(setting) {
  const answer = await client(setting).chat.completions.parse({
    ...setting.given,
    response_format: zodResponseFormat(person, "person"),
  });
  return answer.choices[0].message.parsed;
}

export async function chatAbort(setting) {
  const stream = await client(setting).chat.completions.create({ ...setting.given, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) stream.controller.abort();
  return setting.closed();
}

export async function chatLeft(setting) {
  const stream = await client(setting).chat.completions.create({ ...setting.given, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  return setting.closed();
}

export const completion = (setting) => client(setting).completions.create(setting.given);

export const responses = (setting) => client(setting).responses.create(setting.given);

export async function responsesStream(setting) {
  const stream = client(setting).responses.stream(setting.given);
  for await (const event of stream) setting.say(event);
  return stream.finalResponse();
}

export async function responsesEvents(setting) {
  const stream = await client(setting).responses.create({ ...setting.given, stream: true });
  for await (const event of stream) setting.say(event);
}

export async function responsesTools(setting) {
  const { streamed, input, ...given } = setting.given;
  const tools = [{ type: "function", name: "get_weather", description, parameters, strict: false }];
  const items = [...input];
  for (;;) {
    const body = { ...given, input: items, tools };
    const answer = streamed
      ? await client(setting).responses.stream(body).finalResponse()
      : await client(setting).responses.create(body);
    items.push(...answer.output);
    const calls = answer.output.filter(({ type }) => type === "function_call");
    if (calls.length === 0)
      return { text: answer.output_text, types: items.map(({ type }) => type ?? "message") };
    for (const { call_id, arguments: written } of calls)
      items.push({ type: "function_call_output", call_id, output: weather(JSON.parse(written)) });
  }
}

export async function responsesParse(setting) {
  const answer = await client(setting).responses.parse({
    ...setting.given,
    text: { format: zodTextFormat(person, "person") },
  });
  return answer.output_parsed;
}

export async function responsesAbort(setting) {
  const stream = await client(setting).responses.create({ ...setting.given, stream: true });
  for await (const event of stream)
    if (event.type === "response.output_text.delta") stream.controller.abort();
  return setting.closed();
}

export const inputTokens = (setting) => client(setting).responses.inputTokens.count(setting.given);

export const retrieve = (setting) => client(setting).responses.retrieve(setting.given.id);
