// The page: its forms, what is busy, where the focus goes, and the autofill that waits in the background.

import { isAutofillSupported, isSupported, offerAutofill, outcomeOf, register, signIn } from "./ceremony.js";
import { announce, byId, el } from "./dom.js";
import { Refused } from "./exchange.js";
import { names, suggestedName } from "./names.js";
import { Plan } from "./plan.js";
import { showSnippets } from "./snippets.js";
import { Timeline } from "./timeline.js";

const AUTOFILL_GROWS_OLD_MS = 30 * 60 * 1000;
// No person chooses a passkey this fast: a browser that ends an offer sooner ends it by itself, as those under
// automation do, and would end the next one too. To offer again would go round in circles.
const NO_PERSON_IS_FASTER_MS = 400;

class Page {
  constructor(config) {
    this.config = config;
    this.busy = false;
    this.subject = null;
    this.autofill = null;
    this.autofillAnswersItself = false;
    this.plan = new Plan(byId("plan"));
    this.timeline = new Timeline(byId("ceremonies"), {
      config, plan: this.plan, onchange: () => this.showEmptiness(),
    });
  }

  start() {
    const form = (id, act) => byId(id).addEventListener("submit", (event) => this.submitted(event, act));
    form("register", (data) => this.register(data));
    form("sign-in", () => this.signIn());
    form("sign-in-by-name", (data) => this.signInByName(data));
    form("step-up", () => this.stepUp());
    byId("another-name").addEventListener("click", () => this.suggestName());
    byId("clear").addEventListener("click", () => this.clear());
    document.addEventListener("visibilitychange", () => this.renewAutofill());
    this.suggestName();
    this.armAutofill();
  }

  suggestName() {
    byId("username").value = suggestedName();
  }

  clear() {
    this.timeline.clear();
    this.plan.reset();
    announce("The record is empty");
    byId("record-title").focus();
  }

  async submitted(event, act) {
    event.preventDefault();
    if (this.busy) return;
    const trigger = event.submitter ?? event.target.querySelector("button");
    await act(new FormData(event.target), trigger);
    // The device's dialog took the focus; it goes back to where the person was.
    if (document.activeElement === document.body || document.activeElement === null) trigger.focus({ preventScroll: true });
  }

  register(data) {
    const username = tidy(data.get("username"));
    const wanted = {
      username,
      nickname: tidy(data.get("nickname")),
      userVerification: data.get("userVerification"),
      authenticatorType: data.get("authenticatorType"),
      discoverable: data.get("discoverable") === "on",
    };
    return this.perform("register", "Make a passkey", async (record, signal) => {
      const { verified, checks } = await register(this.config, record, { ...wanted, signal });
      names.keep(verified.userId, username);
      byId("alias").value = username;
      return { verified, checks, title: "Made", who: `${username} has a passkey.` };
    });
  }

  signIn() {
    return this.perform("sign-in", "Sign in with a passkey", (record, signal) =>
      signIn(this.config, record, { expected: SIGN_IN, signal }).then((found) => this.signedIn(found)),
    );
  }

  signInByName(data) {
    const alias = tidy(data.get("username"));
    const asked = { who: { alias }, expected: { ...SIGN_IN, username: alias } };
    return this.perform("sign-in", "Sign in by name", (record, signal) =>
      signIn(this.config, record, { ...asked, signal }).then((found) => this.signedIn(found)),
    );
  }

  async stepUp() {
    if (!this.subject) return;
    const { userId, name } = this.subject;
    const asked = { who: { userId }, purpose: "step-up", expected: { ...SIGN_IN, purpose: "step-up", userId } };
    await this.perform("step-up", "Step up", async (record, signal) => ({
      ...(await signIn(this.config, record, { ...asked, signal })),
      title: "Stepped up",
      who: `It is still ${name}.`,
    }));
  }

  signedIn({ verified, checks }) {
    const name = names.of(verified.userId) ?? verified.userId;
    if (checks.every((check) => check.holds)) this.greet({ userId: verified.userId, name });
    return { verified, checks, title: "Signed in", who: `${name} is signed in.` };
  }

  greet(subject) {
    this.subject = subject;
    byId("step-up-who").textContent = `${subject.name} is signed in. Before something grave, ask for the passkey again.`;
    byId("step-up-button").removeAttribute("aria-disabled");
  }

  /** Run a ceremony and write down how it ends. Nothing a ceremony throws goes further. */
  async perform(section, title, ceremony) {
    this.setBusy(section, true);
    await this.disarmAutofill();
    const record = this.timeline.begin(title);
    showBeside(record.element);
    const controller = new AbortController();
    this.say(section, "Under way…", stopButton(controller));
    try {
      const ended = await ceremony(record, controller.signal);
      record.verified(ended);
      this.say(section, ended.checks.every((check) => check.holds) ? ended.who : "Your backend stopped it.");
    } catch (error) {
      const outcome = outcomeOf(error);
      record.ended(outcome);
      this.say(section, outcome.problem ? outcome.problem.title : `${outcome.title}. ${outcome.words}`);
      if (error instanceof Refused) await forgetUnknown(record, error.problem);
      if (!(error instanceof Refused) && outcome.title === "It did not work") console.warn(error);
    } finally {
      this.setBusy(section, false);
    }
    this.armAutofill();
  }

  setBusy(section, busy) {
    this.busy = busy;
    byId(`${section}-section`).toggleAttribute("data-busy", busy);
    for (const button of document.querySelectorAll("form button[type=submit]")) {
      const shut = busy || (button.id === "step-up-button" && !this.subject);
      if (shut) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
    }
  }

  say(section, words, then = el("a", { href: "#record-title" }, "See the steps")) {
    byId(`${section}-status`).replaceChildren(words, " ", then);
  }

  showEmptiness() {
    const empty = this.timeline.list.childElementCount === 0;
    byId("nothing-yet").hidden = !empty;
    byId("clear").hidden = empty;
  }

  async armAutofill() {
    byId("autofill-status").textContent = "";
    if (this.autofillAnswersItself) return;
    if (!(await isAutofillSupported())) {
      byId("autofill-status").textContent = "This browser does not suggest passkeys in fields.";
      return;
    }
    const controller = new AbortController();
    const armedAt = performance.now();
    const offer = this.waitForAutofill(controller, armedAt);
    this.autofill = { controller, armedAt, offer };
  }

  async waitForAutofill(controller, armedAt) {
    byId("autofill-status").textContent = "Or choose a passkey from the suggestions of this field.";
    const goOn = await offerAutofill(this.config, controller.signal).catch(() => null);
    if (controller.signal.aborted) return;
    this.autofill = null;
    const byItself = performance.now() - armedAt < NO_PERSON_IS_FASTER_MS;
    if (goOn === null) {
      // A quiet offer fails quietly: the buttons are there.
      if (byItself) byId("autofill-status").textContent = "";
      else this.armAutofill();
      return;
    }
    this.autofillAnswersItself = byItself;
    if (!this.busy) {
      this.perform("sign-in", "Sign in by autofill", (record) =>
        goOn(record, SIGN_IN).then((found) => this.signedIn(found)),
      );
    }
  }

  async disarmAutofill() {
    const armed = this.autofill;
    this.autofill = null;
    if (!armed) return;
    byId("autofill-status").textContent = "Suggestions pause while another request is under way.";
    armed.controller.abort();
    await armed.offer;
  }

  /** A page that was left open for long would offer a session that has expired. */
  async renewAutofill() {
    if (document.hidden || !this.autofill || performance.now() - this.autofill.armedAt < AUTOFILL_GROWS_OLD_MS) return;
    await this.disarmAutofill();
    this.armAutofill();
  }
}

const SIGN_IN = { type: "passkey_signin", purpose: "sign-in" };

/** One spelling of a name: an alias is compared byte by byte. */
function tidy(text) {
  return String(text ?? "").normalize("NFC").trim();
}

/** Tell the device that a passkey is of no use here any more, where the browser can pass that on. */
async function forgetUnknown(record, problem) {
  const { errorCode, credentialId } = problem;
  if (errorCode !== "unknown_credential" || !credentialId || !window.PublicKeyCredential?.signalUnknownCredential) return;
  try {
    await PublicKeyCredential.signalUnknownCredential({ rpId: location.hostname, credentialId });
    record.note("The browser was told that this passkey is unknown here, so that it may stop offering it.");
  } catch (error) {
    console.debug("the browser did not take the signal", error);
  }
}

/** Some devices are elsewhere, and some prompts go unseen: nobody has to wait for the time limit. */
function stopButton(controller) {
  return el("button", { type: "button", class: "quiet", onclick: () => controller.abort() }, "Stop waiting");
}

/** Where the record stands beside the forms, keep its newest entry in sight. */
function showBeside(element) {
  if (!matchMedia("(min-width: 60rem)").matches || element.getBoundingClientRect().top >= 0) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}

function notice(title, ...content) {
  byId("notices").append(el("div", { class: "notice" }, el("p", { class: "lead" }, title), el("p", {}, ...content)));
}

function shutForms() {
  for (const fieldset of document.querySelectorAll("form fieldset")) fieldset.disabled = true;
}

async function open() {
  let config;
  try {
    config = await (await fetch("/playground/config")).json();
  } catch {
    notice("The server does not answer.", "Start it again with “narthex dev”, then reload this page.");
    return shutForms();
  }
  for (const place of document.querySelectorAll("[data-config]")) place.textContent = config[place.dataset.config];
  showSnippets(byId("snippets"), config);
  if (location.origin !== config.apiUrl) {
    const address = `${config.apiUrl}/playground`;
    notice(
      "Open this page under its name.",
      `A passkey belongs to a domain name, and ${location.hostname} is an address. `,
      el("a", { href: address }, `Go to ${address}`),
    );
    return shutForms();
  }
  if (!isSupported()) {
    notice(
      "This browser has no passkeys.",
      "Use a current Chrome, Edge, Firefox or Safari. You can still read how everything fits together below.",
    );
    return shutForms();
  }
  new Page(config).start();
}

open();
