// Calls over the line, kept as they went: { request, response, took_ms }.

const SHOWN_HEADERS = ["content-type", "retry-after", "www-authenticate"];

/** The server does not answer, or not in JSON. */
export class NoAnswer extends Error {}

/** The server said no; `problem` is its problem document (RFC 9457). */
export class Refused extends Error {
  constructor(problem) {
    super(problem.title ?? "refused");
    this.problem = problem;
  }
}

/** The page to the public API, with the public key. */
export async function callPublic(config, path, body) {
  const headers = { ApiKey: config.apiKey, "Content-Type": "application/json" };
  const started = performance.now();
  const response = await sent(config.apiUrl + path, headers, body);
  return {
    request: { method: "POST", path, headers, body },
    response: { status: response.status, headers: shown(response.headers), body: await json(response) },
    took_ms: performance.now() - started,
  };
}

/** The page to its own backend, which calls the private API and tells how it went. */
export async function callBackend(act, body) {
  const started = performance.now();
  const response = await sent(`/playground/${act}`, { "X-Playground": "1", "Content-Type": "application/json" }, body);
  const answer = await json(response);
  if (!response.ok) throw new Refused(answer);
  return { ...answer, took_ms: performance.now() - started };
}

async function sent(url, headers, body) {
  try {
    return await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  } catch (cause) {
    throw new NoAnswer("The server does not answer. Is “narthex dev” still running?", { cause });
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch (cause) {
    throw new NoAnswer(`The server answered ${response.status}, and not in JSON.`, { cause });
  }
}

function shown(headers) {
  return Object.fromEntries(SHOWN_HEADERS.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]));
}
