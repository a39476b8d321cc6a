// Reads authenticator data (WebAuthn L3 #sctn-authenticator-data), for display only.

import { decode } from "./cbor.js";
import { toHex } from "./base64url.js";

/** Bit, short name, and what it says when it is set and when it is not. */
export const FLAGS = [
  [0, "UP", "user present", "user not present"],
  [2, "UV", "user verified", "user not verified"],
  [3, "BE", "may be backed up", "may not be backed up"],
  [4, "BS", "is backed up", "is not backed up"],
  [6, "AT", "credential data follows", "no credential data"],
  [7, "ED", "extension data follows", "no extension data"],
];

export const ALGORITHMS = new Map([
  [-7, "ES256"], [-8, "EdDSA"], [-9, "ESP256"], [-19, "Ed25519"], [-35, "ES384"], [-36, "ES512"], [-37, "PS256"],
  [-38, "PS384"], [-39, "PS512"], [-48, "ML-DSA-44"], [-49, "ML-DSA-65"], [-50, "ML-DSA-87"], [-51, "ESP384"],
  [-52, "ESP512"], [-53, "Ed448"], [-257, "RS256"], [-258, "RS384"], [-259, "RS512"],
]);

// A name for the eye. It is no evidence: without attestation anybody can claim any AAGUID.
const MAKERS = new Map([
  ["00000000-0000-0000-0000-000000000000", "not told"],
  ["01020304-0506-0708-0102-030405060708", "Chromium's virtual authenticator"],
  ["08987058-cadc-4b81-b6e1-30de50dcbe96", "Windows Hello"],
  ["6028b017-b1d4-4c02-b4b3-afcdafc96bb2", "Windows Hello"],
  ["9ddd1817-af5a-4672-a2b9-3e3dd95000a9", "Windows Hello"],
  ["adce0002-35bc-c60a-648b-0b25f1f05503", "Chrome on Mac"],
  ["bada5566-a7aa-401f-bd96-45619a55120d", "1Password"],
  ["d548826e-79b4-db40-a3d8-11116f7e8349", "Bitwarden"],
  ["dd4ec289-e01d-41c9-bb89-70fa845d4bf2", "iCloud Keychain, managed"],
  ["ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4", "Google Password Manager"],
  ["fbfc3007-154e-4ecc-8c0b-6e020557d7bd", "Apple Passwords"],
  ["fdb141b2-5d84-443e-8a35-4698c205a502", "KeePassXC"],
]);

export const makerOf = (aaguid) => MAKERS.get(aaguid) ?? "not known to this page";

/** All the parts with the offsets at which they stand. */
export function parseAuthenticatorData(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bits = bytes[32];
  const data = {
    size: bytes.length,
    rpIdHash: bytes.slice(0, 32),
    bits,
    flags: Object.fromEntries(FLAGS.map(([bit, name]) => [name, Boolean(bits & (1 << bit))])),
    signCount: view.getUint32(33),
    credential: null,
    extensions: null,
  };
  let offset = 37;
  if (data.flags.AT) {
    const idSize = view.getUint16(53);
    const keyOffset = 55 + idSize;
    const { value, end } = decode(bytes, keyOffset);
    data.credential = {
      aaguid: guid(bytes.slice(37, 53)),
      id: bytes.slice(55, keyOffset),
      keyOffset,
      key: value,
      keyEnd: end,
    };
    offset = end;
  }
  if (data.flags.ED) data.extensions = { offset, value: decode(bytes, offset).value };
  return data;
}

/** Whether a passkey stays on its device or travels (L3 #sctn-credential-backup). */
export function mobilityOf(flags) {
  if (!flags.BE) return { name: "Device-bound", words: "stays on the authenticator that made it" };
  if (flags.BS) return { name: "Synced", words: "backed up by your credential manager" };
  return { name: "Syncable", words: "can be backed up, and is not yet" };
}

function guid(bytes) {
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
