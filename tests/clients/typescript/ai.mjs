// The AI SDK with each provider that a gateway can be: chat completions, Messages, Responses.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { description, person, place, weather } from "./tools.mjs";

const providers = {
  compatible: (options) => createOpenAICompatible({ ...options, name: "fitten", includeUsage: true }),
  chat: (options) => createOpenAI(options).chat,
  responses: (options) => createOpenAI(options).responses,
  messages: (options) => createAnthropic(options),
};

function asked({ url, key, given: { provider, model, ...given } }) {
  const made = providers[provider]({ baseURL: `${url}/v1`, apiKey: key });
  return { model: made(model), maxRetries: 0, ...given };
}

const loop = {
  tools: { get_weather: tool({ description, inputSchema: place, execute: weather }) },
  stopWhen: stepCountIs(5),
};

const finished = async ({ text, usage, totalUsage, finishReason, reasoningText, steps }) => ({
  text: await text,
  usage: await usage,
  totalUsage: await totalUsage,
  finishReason: await finishReason,
  reasoning: await reasoningText,
  calls: (await steps).flatMap(({ toolCalls }) => toolCalls.map(({ input }) => input)),
  steps: (await steps).length,
});

export const whole = async (setting) => finished(await generateText(asked(setting)));

export const wholeTools = async (setting) =>
  finished(await generateText({ ...asked(setting), ...loop }));

async function streamed(setting, more) {
  // The library would write errors to the console; here they are parts of the stream.
  const stream = streamText({ ...asked(setting), ...more, onError: () => {} });
  for await (const part of stream.fullStream) {
    if (part.type === "text-delta") setting.say(part.text);
    if (part.type === "error") throw part.error;
  }
  return finished(stream);
}

export const stream = (setting) => streamed(setting, {});

export const streamTools = (setting) => streamed(setting, loop);

export async function object(setting) {
  const answer = await generateText({ ...asked(setting), output: Output.object({ schema: person }) });
  return answer.output;
}

export async function abort(setting) {
  const leaving = new AbortController();
  const stream = streamText({ ...asked(setting), abortSignal: leaving.signal, onError: () => {} });
  const types = new Set();
  for await (const { type } of stream.fullStream) {
    types.add(type);
    if (type === "text-delta") leaving.abort();
  }
  return { types: [...types], closed: await setting.closed() };
}
