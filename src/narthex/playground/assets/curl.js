// The same call for a terminal. The secret stays out of it: the shell knows it by a variable.

export const SECRET_VARIABLE = "API_SECRET";

export function curlOf(apiUrl, { method, path, headers, body }) {
  const lines = [`curl -X ${method} ${quoted(apiUrl + path)}`];
  for (const [name, value] of Object.entries(headers)) {
    lines.push(name === "ApiSecret" ? `-H "ApiSecret: $${SECRET_VARIABLE}"` : `-H ${quoted(`${name}: ${value}`)}`);
  }
  lines.push(`-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

/** In single quotes, as a POSIX shell reads them. */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
