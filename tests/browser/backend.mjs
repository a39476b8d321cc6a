// A customer's backend with the official Node SDK, unmodified. Reads one JSON object on standard input,
// {baseUrl, secret, calls: [[method, ...arguments], ...]}, and prints what each call gave: {value} or {refusal}.
// An argument may be {bytes: "base64url"}, or {new: "ClassOfTheSdk", with: [arguments], set: {members}}.
import * as sdk from "@passwordlessdev/passwordless-nodejs";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { baseUrl, secret, calls } = JSON.parse(Buffer.concat(chunks).toString("utf8"), made);

const client = new sdk.PasswordlessClient(secret, { baseUrl });
const results = [];
for (const [method, ...args] of calls) {
  try {
    results.push({ value: printable(await client[method](...args)) });
  } catch (error) {
    if (!(error instanceof sdk.ApiException)) throw error;
    results.push({ refusal: error.details });
  }
}
console.log(JSON.stringify(results));

function made(_key, value) {
  if (typeof value?.bytes === "string") return sdk.Converters.base64UrlToUint8Array(value.bytes);
  if (typeof value?.new === "string") return Object.assign(new sdk[value.new](...(value.with ?? [])), value.set);
  return value;
}

// The methods that promise nothing give the answer of axios, which holds its own request and cannot be printed.
function printable(value) {
  return value?.config && value?.request ? { status: value.status, body: value.data } : value;
}
