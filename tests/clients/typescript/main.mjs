// Runs one case and prints what came of it, as JSON.
//   usage: node main.mjs LIBRARY CASE '{"url": ..., "emulator": ..., "key": ..., "given": {...}}'
const [library, name, input] = process.argv.slice(2);
const cases = await import(`./${library}.mjs`);
const setting = JSON.parse(input);
const seen = [];

/** Returns once the emulator's only chat call was given up, while this process still runs. */
setting.closed = async () => {
  for (;;) {
    const answer = await fetch(`${setting.emulator}/_emulator/calls?path=/codeapi/chat_auth`);
    const calls = await answer.json();
    if (calls.length === 1 && calls[0].closed_at !== null) return true;
    await new Promise((done) => setTimeout(done, 10));
  }
};
setting.say = (piece) => seen.push(piece);

function described(error) {
  const classes = [];
  for (let of = Object.getPrototypeOf(error); of !== Object.prototype; of = Object.getPrototypeOf(of))
    classes.push(of.constructor.name);
  const { message, status, statusCode, code, type, param, requestID, isRetryable, error: body } = error;
  return { classes, message, status, statusCode, code, type, param, requestID, isRetryable, body };
}

const done = { value: null, error: null, seen };
try {
  done.value = await cases[name](setting);
} catch (error) {
  done.error = described(error);
}
process.stdout.write(JSON.stringify(done));
