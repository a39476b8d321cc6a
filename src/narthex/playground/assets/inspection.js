// What a device answered, taken apart for the eye.

import { ALGORITHMS, FLAGS, makerOf, mobilityOf, parseAuthenticatorData } from "./authenticator-data.js";
import { toBase64url, toHex } from "./base64url.js";
import { decode } from "./cbor.js";
import { codeBlock, el } from "./dom.js";

/** The parts of the answer that later steps speak of: { flags, authenticatorData, format, statement }. */
export function readAnswer(credential) {
  if (!credential.response.attestationObject) {
    return { data: parseAuthenticatorData(new Uint8Array(credential.response.authenticatorData)) };
  }
  const { value } = decode(new Uint8Array(credential.response.attestationObject));
  return { data: parseAuthenticatorData(value.get("authData")), format: value.get("fmt"), statement: value.get("attStmt") };
}

/** Everything that came back, as a list of sections. */
export async function inspected(options, credential) {
  const { data, format, statement } = readAnswer(credential);
  const clientData = new TextDecoder().decode(credential.response.clientDataJSON);
  return [
    section("Client data", "What the browser saw, signed by the device.", await clientDataTable(clientData, options)),
    section("Authenticator data", `What the device says, ${data.size} bytes.`, flagList(data), await dataTable(data, options)),
    format !== undefined && section("Attestation", "What the maker says of the device.", attestationTable(format, statement)),
    section("Beside it", null, besideTable(credential)),
  ].filter(Boolean);
}

function section(title, note, ...content) {
  return el("section", { class: "inspected" }, el("h5", {}, title, note && el("small", {}, ` ${note}`)), ...content);
}

async function clientDataTable(text, options) {
  const clientData = JSON.parse(text);
  const expected = { challenge: options.challenge, origin: location.origin };
  const rows = Object.entries(clientData).map(([name, value]) => [
    name,
    typeof value === "string" ? value : JSON.stringify(value),
    name in expected && agreement(value === expected[name], name === "challenge" ? "the one that was sent" : "this page"),
  ]);
  return table(rows);
}

function flagList(data) {
  return el(
    "ul",
    { class: "flags", "aria-label": `Flags, 0x${toHex([data.bits])}` },
    FLAGS.map(([, name, yes, no]) => {
      const set = data.flags[name];
      return el("li", { class: set ? "set" : null }, el("b", {}, name), el("i", {}, set ? "1" : "0"), el("span", {}, set ? yes : no));
    }),
  );
}

async function dataTable(data, options) {
  const rpId = options.rpId ?? options.rp.id;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(rpId));
  const mobility = mobilityOf(data.flags);
  const rows = [
    ["rpIdHash", toHex(data.rpIdHash), agreement(toHex(data.rpIdHash) === toHex(new Uint8Array(digest)), `SHA-256 of “${rpId}”`), "0–31"],
    ["flags", `0x${toHex([data.bits])}, ${data.bits.toString(2).padStart(8, "0")}`, `${mobility.name}: ${mobility.words}`, "32"],
    ["signCount", String(data.signCount), data.signCount === 0 && "this device does not count", "33–36"],
  ];
  if (data.credential) rows.push(...credentialRows(data.credential));
  if (data.extensions) rows.push(["extensions", shown(data.extensions.value), null, `${data.extensions.offset}–${data.size - 1}`]);
  return table(rows, ["Bytes", "Field", "Value"]);
}

function credentialRows({ aaguid, id, key, keyOffset, keyEnd }) {
  const algorithm = key.get(3);
  return [
    ["aaguid", aaguid, `${makerOf(aaguid)}; a name for the eye, not evidence`, "37–52"],
    ["credentialId", toBase64url(id), `${id.length} bytes`, `53–${keyOffset - 1}`],
    ["publicKey", shown(key), `${ALGORITHMS.get(algorithm) ?? "algorithm"} (${algorithm})`, `${keyOffset}–${keyEnd - 1}`],
  ];
}

function attestationTable(format, statement) {
  const words = format === "none" ? "the device does not identify itself" : null;
  return table([["fmt", format, words], ["attStmt", shown(statement), null]]);
}

function besideTable(credential) {
  const { response } = credential;
  const rows = [["id", credential.id, null], ["authenticatorAttachment", credential.authenticatorAttachment ?? "not told", null]];
  if (response.getTransports) rows.push(["transports", response.getTransports().join(", ") || "not told", null]);
  if (response.signature) rows.push(["signature", toHex(new Uint8Array(response.signature)), `${response.signature.byteLength} bytes`]);
  if (response.userHandle?.byteLength) {
    rows.push(["userHandle", new TextDecoder().decode(response.userHandle), "the user id, as the device keeps it"]);
  }
  rows.push(["clientExtensionResults", JSON.stringify(credential.getClientExtensionResults()), null]);
  return table(rows);
}

function agreement(holds, words) {
  return el("span", { class: holds ? "holds" : "fails" }, holds ? `✓ ${words}` : `✗ not ${words}`);
}

/** Rows of [name, value, remark, bytes]. */
function table(rows, headings) {
  const withBytes = rows.some((row) => row[3]);
  const head = headings && el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading))));
  const body = rows.map(([name, value, remark, bytes]) =>
    el(
      "tr",
      {},
      withBytes && el("td", { class: "bytes" }, bytes),
      el("th", { scope: "row" }, name),
      el("td", {}, el("code", {}, value), remark && el("span", { class: "remark" }, remark)),
    ),
  );
  return el("table", { class: "fields" }, head, el("tbody", {}, body));
}

/** CBOR in the diagnostic notation of RFC 8949, section 8. */
export function shown(value) {
  if (value instanceof Uint8Array) return `h'${toHex(value)}'`;
  if (value instanceof Map) return `{${Array.from(value, ([key, item]) => `${shown(key)}: ${shown(item)}`).join(", ")}}`;
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (value && typeof value === "object" && "tag" in value) return `${value.tag}(${shown(value.value)})`;
  if (value && typeof value === "object" && "simple" in value) return `simple(${value.simple})`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** The options as the page handed them to the browser. */
export function optionsBlock(options, verb) {
  return codeBlock(JSON.stringify(options, null, 2), `Options for navigator.credentials.${verb}`);
}

