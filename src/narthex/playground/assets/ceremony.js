// The two ceremonies, step by step, as a page that uses Narthex performs them.
//
// The JSON is that of the official client. Every step is reported to a record as it begins and as it ends, and a
// ceremony that does not come to its end throws; `outcomeOf` says what that means to a person.

import { toBase64url, toBytes } from "./base64url.js";
import { callBackend, callPublic, NoAnswer, Refused } from "./exchange.js";

const STEPS = {
  registerToken: {
    from: "app", to: "narthex", title: "Your backend asks for a register token",
    note: "It says which user the passkey will belong to. Only the holder of the secret key may.",
  },
  registerBegin: {
    from: "browser", to: "narthex", title: "The page exchanges it for options",
    note: "Narthex draws a challenge and seals it into the session; it stores nothing yet.",
  },
  create: {
    from: "browser", to: "device", title: "Your device makes a key pair",
    note: "The private key stays there. What comes back is the public key, and what the device says of itself.",
    waiting: "Waiting for you and your device",
  },
  registerComplete: {
    from: "browser", to: "narthex", title: "Narthex checks the passkey and keeps it",
    note: "It keeps the public key. The answer is a token for your backend, good once.",
  },
  signinBegin: {
    from: "browser", to: "narthex", title: "The page asks for a challenge",
    note: "Anybody may ask. Nothing is stored: the session carries the challenge, sealed.",
  },
  get: {
    from: "browser", to: "device", title: "Your device signs the challenge",
    note: "It signs the challenge together with the origin, so the signature is good for this site alone.",
    waiting: "Waiting for you and your device",
  },
  signinComplete: {
    from: "browser", to: "narthex", title: "Narthex verifies the signature",
    note: "The answer is a token for your backend, good once.",
  },
  verify: {
    from: "app", to: "narthex", title: "Your backend verifies the token",
    note: "What a browser brings proves nothing until Narthex has confirmed it to your backend.",
  },
};

export const isSupported = () => typeof window.PublicKeyCredential === "function" && Boolean(navigator.credentials);

export async function isAutofillSupported() {
  return isSupported() && Boolean(await PublicKeyCredential.isConditionalMediationAvailable?.());
}

/** Make a passkey. Resolves to what the backend verified. */
export async function register(config, record, { nickname, signal, ...wanted }) {
  const { token } = await call(record, STEPS.registerToken, () => callBackend("register-token", wanted));
  const begun = await call(record, STEPS.registerBegin, () =>
    callPublic(config, "/register/begin", { token, ...page() }),
  );
  const credential = await ask(record, STEPS.create, begun.data, () =>
    navigator.credentials.create({ publicKey: creationOptions(begun.data), signal }),
  );
  const completed = await call(record, STEPS.registerComplete, () =>
    callPublic(config, "/register/complete", {
      session: begun.session,
      response: attestationJson(credential),
      nickname: nickname || undefined,
      ...page(),
    }),
  );
  return verify(record, completed.token, { type: "passkey_register", username: wanted.username });
}

/**
 * Sign in. `who` is {} for whichever passkey is chosen, or { alias }, or { userId }; `purpose` is for step-up;
 * `expected` is what the backend will compare; `signal` ends the waiting for the device.
 */
export async function signIn(config, record, { who = {}, purpose, expected, signal }) {
  const begun = await call(record, STEPS.signinBegin, () => beginSignIn(config, who, purpose));
  const credential = await ask(record, STEPS.get, begun.data, () =>
    navigator.credentials.get({ publicKey: requestOptions(begun.data), signal }),
  );
  return completeSignIn(config, record, begun, credential, expected);
}

/**
 * Let the browser offer passkeys in the suggestions of a field. Resolves when one is chosen, to a function that
 * goes on with the sign-in; throws AbortError when `signal` ends it.
 */
export async function offerAutofill(config, signal) {
  const exchange = await beginSignIn(config, {});
  if (exchange.response.status !== 200) throw new Refused(exchange.response.body);
  signal.throwIfAborted();
  const begun = exchange.response.body;
  const credential = await navigator.credentials.get({
    publicKey: requestOptions(begun.data),
    mediation: "conditional",
    signal,
  });
  return async (record, expected) => {
    await call(record, STEPS.signinBegin, () => exchange);
    record.step(STEPS.get).answered({ options: begun.data, credential, took_ms: null });
    return completeSignIn(config, record, begun, credential, expected);
  };
}

/** What an ending means: its tone, a title, and words for a person. */
export function outcomeOf(error) {
  if (error instanceof Refused) return { tone: "refused", title: "Refused", problem: error.problem };
  if (error instanceof NoAnswer) return { tone: "refused", title: "No answer", words: error.message };
  const known = ENDINGS[error.name];
  return known ?? { tone: "refused", title: "It did not work", words: `The browser said: ${error.message || error.name}` };
}

const ENDINGS = {
  NotAllowedError: {
    tone: "calm",
    title: "Stopped",
    words: "The prompt was closed, or its time ran out, or no passkey fits. Nothing was changed; try again when you like.",
  },
  AbortError: { tone: "calm", title: "Stopped", words: "You stopped waiting. Nothing was changed; try again when you like." },
  InvalidStateError: {
    tone: "good",
    title: "This device already has one",
    words: "It holds a passkey for this user, so it made no second one. You can sign in with it.",
  },
  NotSupportedError: {
    tone: "refused",
    title: "Not supported",
    words: "This device has none of the signature algorithms that were asked for.",
  },
  ConstraintError: {
    tone: "refused",
    title: "Not possible on this device",
    words: "It cannot verify its user or keep the passkey as asked. Ask for less, or use another device.",
  },
  SecurityError: {
    tone: "refused",
    title: "Wrong address",
    words: "The browser makes passkeys for the domain in its address bar only, and the request named another.",
  },
};

async function verify(record, token, expected) {
  let checks = [];
  const verified = await call(record, STEPS.verify, async () => {
    const { checks: found, ...exchange } = await callBackend("verify", { token, ...expected });
    checks = found ?? [];
    return exchange;
  });
  return { verified, checks };
}

function beginSignIn(config, who, purpose) {
  return callPublic(config, "/signin/begin", { ...who, ...page(), purpose });
}

async function completeSignIn(config, record, begun, credential, expected) {
  const completed = await call(record, STEPS.signinComplete, () =>
    callPublic(config, "/signin/complete", {
      session: begun.session,
      response: assertionJson(credential),
      ...page(),
    }),
  );
  return verify(record, completed.token, expected);
}

async function call(record, step, exchanged) {
  const entry = record.step(step);
  const exchange = await exchanged();
  entry.exchanged(exchange);
  if (exchange.response.status >= 400) throw new Refused(exchange.response.body);
  return exchange.response.body;
}

async function ask(record, step, options, asked) {
  const entry = record.step(step);
  const started = performance.now();
  const credential = await asked();
  entry.answered({ options, credential, took_ms: performance.now() - started });
  return credential;
}

function page() {
  return { RPID: location.hostname, Origin: location.origin };
}

function creationOptions(data) {
  return {
    ...data,
    challenge: toBytes(data.challenge),
    user: { ...data.user, id: toBytes(data.user.id) },
    excludeCredentials: data.excludeCredentials?.map(withBytes),
  };
}

function requestOptions(data) {
  return { ...data, challenge: toBytes(data.challenge), allowCredentials: data.allowCredentials?.map(withBytes) };
}

const withBytes = (descriptor) => ({ ...descriptor, id: toBytes(descriptor.id) });

function attestationJson(credential) {
  return {
    ...credentialJson(credential),
    response: {
      AttestationObject: toBase64url(credential.response.attestationObject),
      clientDataJson: toBase64url(credential.response.clientDataJSON),
      transports: credential.response.getTransports?.() ?? [],
    },
  };
}

function assertionJson(credential) {
  return {
    ...credentialJson(credential),
    response: {
      authenticatorData: toBase64url(credential.response.authenticatorData),
      clientDataJson: toBase64url(credential.response.clientDataJSON),
      signature: toBase64url(credential.response.signature),
    },
  };
}

function credentialJson(credential) {
  return {
    id: credential.id,
    rawId: toBase64url(credential.rawId),
    type: credential.type,
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}
