// The package ollama: chats, completions and models.
import { Ollama } from "ollama";
import { description, parameters, weather } from "./tools.mjs";

const client = ({ url, key }) =>
  new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });

export async function models(setting) {
  const { models } = await client(setting).list();
  return { listed: models.map(({ name }) => name), shown: await client(setting).show({ model: setting.given.model }) };
}

export const chat = (setting) => client(setting).chat(setting.given);

export async function chatStream(setting) {
  let last;
  for await (const part of await client(setting).chat({ ...setting.given, stream: true })) {
    setting.say(part.message.content);
    last = part;
  }
  return last;
}

export const generate = (setting) => client(setting).generate(setting.given);

export async function chatTools(setting) {
  const tools = [{ type: "function", function: { name: "get_weather", description, parameters } }];
  const messages = [...setting.given.messages];
  for (;;) {
    const { message } = await client(setting).chat({ ...setting.given, messages, tools });
    messages.push(message);
    if (!message.tool_calls?.length) return { text: message.content, turns: messages.length };
    for (const { function: called } of message.tool_calls)
      messages.push({ role: "tool", tool_name: called.name, content: weather(called.arguments) });
  }
}

export async function chatAbort(setting) {
  const ollama = client(setting);
  const stream = await ollama.chat({ ...setting.given, stream: true });
  let error = null;
  try {
    for await (const _ of stream) ollama.abort();
  } catch (raised) {
    error = raised.name;
  }
  return { error, closed: await setting.closed() };
}
