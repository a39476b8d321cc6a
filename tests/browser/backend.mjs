// A customer's backend with the official Node SDK, unmodified. Reads one JSON object on standard input,
// {baseUrl, secret, calls: [[method, ...arguments], ...]}, and prints what each call gave: {value} or {refusal}.
import { ApiException, PasswordlessClient } from "@passwordlessdev/passwordless-nodejs";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { baseUrl, secret, calls } = JSON.parse(Buffer.concat(chunks).toString("utf8"));

const client = new PasswordlessClient(secret, { baseUrl });
const results = [];
for (const [method, ...args] of calls) {
  try {
    results.push({ value: await client[method](...args) });
  } catch (error) {
    if (!(error instanceof ApiException)) throw error;
    results.push({ refusal: error.details });
  }
}
console.log(JSON.stringify(results));
