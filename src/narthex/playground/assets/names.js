// The names behind user ids, as this browser remembers them: Narthex stores no user names.

const KEY = "narthex.playground.names";
const ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789";

export const names = {
  of(userId) {
    return read()[userId] ?? null;
  },

  keep(userId, name) {
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...read(), [userId]: name }));
    } catch {
      // Without storage the page shows ids instead of names.
    }
  },
};

/** A name that nobody bears yet. */
export function suggestedName() {
  const lots = crypto.getRandomValues(new Uint8Array(4));
  return `visitor-${Array.from(lots, (lot) => ALPHABET[lot % ALPHABET.length]).join("")}`;
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
