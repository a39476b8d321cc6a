// The record: one article for each ceremony, one list item for each step, written as they happen.

import { mobilityOf } from "./authenticator-data.js";
import { curlOf, quoted, SECRET_VARIABLE } from "./curl.js";
import { codeBlock, copyButton, el, leaves } from "./dom.js";
import { inspected, optionsBlock, readAnswer } from "./inspection.js";

export const ACTORS = { device: "Your device", browser: "Browser", narthex: "Narthex", app: "Your backend" };

export class Timeline {
  constructor(list, { config, plan, onchange }) {
    this.list = list;
    this.config = config;
    this.plan = plan;
    this.onchange = onchange;
  }

  /** Begin the record of a ceremony, above the earlier ones, which fold to their results. */
  begin(title) {
    for (const steps of this.list.querySelectorAll("article > details")) steps.open = false;
    const record = new Record(title, this);
    this.list.prepend(record.element);
    this.onchange();
    return record;
  }

  clear() {
    this.list.replaceChildren();
    this.onchange();
  }
}

class Record {
  constructor(title, { config, plan }) {
    this.config = config;
    this.plan = plan;
    this.answer = null;
    this.state = el("span", { class: "state" }, "under way");
    this.result = el("div", { class: "result" });
    this.steps = el("ol", { class: "steps" });
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.element = el(
      "li",
      {},
      el(
        "article",
        { "data-tone": "busy" },
        el("header", {}, el("h3", {}, title), this.state, el("time", {}, time)),
        this.result,
        el("details", { open: true }, el("summary", {}, "Step by step"), this.steps),
      ),
    );
  }

  step(description) {
    const step = new Step(description, this);
    this.current = step;
    this.steps.append(step.element);
    this.plan.show(description.to === "device" ? "device" : description.to, description.waiting ?? description.title);
    return step;
  }

  /** End well: the backend knows who it is, and says so. */
  verified({ title, who, verified, checks }) {
    const agreed = checks.every((check) => check.holds);
    this.end(agreed ? "good" : "refused", agreed ? title : "Your backend stops here");
    const flags = this.answer?.flags;
    this.result.append(
      el("p", { class: "lead" }, agreed ? who : "The passkey is good, and it is not what your backend expected."),
      flags && badges(flags, verified.assurance),
      facts(verified),
      el(
        "ul",
        { class: "checks", "aria-label": "What your backend checks" },
        checks.map((check) =>
          el(
            "li",
            { class: check.holds ? "holds" : "fails" },
            check.holds ? "✓ " : "✗ ",
            el("code", {}, check.member),
            check.holds ? " is " : " should be ",
            el("code", {}, String(check.expected)),
            check.holds ? null : [" and is ", el("code", {}, String(check.found))],
          ),
        ),
      ),
    );
    this.plan.finish(agreed, agreed ? who : "Kept out by your own check");
  }

  /** End otherwise. */
  ended(outcome) {
    this.current?.stopped(outcome);
    this.end(outcome.tone, outcome.title);
    this.result.append(outcome.problem ? problemBlock(outcome.problem) : el("p", { class: "lead" }, outcome.words));
    this.plan.finish(false, outcome.title);
  }

  note(words) {
    this.result.append(el("p", { class: "remark" }, words));
  }

  end(tone, title) {
    this.element.firstChild.dataset.tone = tone;
    this.state.textContent = title;
  }
}

class Step {
  constructor({ from, to, title, note, waiting }, record) {
    this.record = record;
    this.verb = to === "device" ? (title.includes("makes") ? "create" : "get") : null;
    this.took = el("span", { class: "took" }, waiting ?? "…");
    this.line = el("p", { class: "line" });
    this.body = el("div", { class: "body" });
    this.element = el(
      "li",
      { "data-state": "busy", "data-to": to },
      el("p", { class: "route" }, ACTORS[from], el("span", { class: "arrow", "aria-label": "to" }, " → "), ACTORS[to], this.took),
      el("h4", {}, title),
      el("p", { class: "note" }, note),
      this.line,
      this.body,
    );
  }

  /** A call over the line has its answer. */
  exchanged({ request, response, took_ms }) {
    const fine = response.status < 400;
    this.end(fine ? "done" : "refused", took_ms);
    this.line.append(
      el("code", {}, `${request.method} ${request.path}`),
      el("span", { class: `status ${fine ? "holds" : "fails"}` }, `${fine ? "✓" : "✗"} ${response.status}`),
    );
    this.body.append(
      leaves([
        ["Request", [message(request), request.headers.ApiSecret && secretNote(this.record.config)]],
        ["Response", [message(response)]],
        ["curl", curlBlock(this.record.config, request)],
      ]),
    );
  }

  /** The device has answered. */
  async answered({ options, credential, took_ms }) {
    this.end("done", took_ms);
    this.line.append(
      el("code", {}, `navigator.credentials.${this.verb}()`),
      el("span", { class: "status holds" }, this.verb === "get" ? "✓ signed" : "✓ made"),
    );
    const answer = el("div");
    this.body.append(leaves([["Options", [optionsBlock(options, this.verb)]], ["Answer, decoded", [answer]]], 1));
    try {
      this.record.answer = { flags: readAnswer(credential).data.flags };
      answer.append(...(await inspected(options, credential)));
    } catch (error) {
      // Only the view fails here: the server judges the answer by its own reading.
      answer.append(el("p", { class: "remark" }, `This page cannot take the answer apart: ${error.message}.`));
    }
  }

  stopped(outcome) {
    if (this.element.dataset.state !== "busy") return;
    this.end(outcome.tone === "refused" ? "refused" : "stopped", null);
    this.took.textContent = outcome.tone === "good" ? "not needed" : "stopped";
  }

  end(state, took_ms) {
    this.element.dataset.state = state;
    this.took.textContent = took_ms === null ? "" : `${took_ms < 10 ? took_ms.toFixed(1) : Math.round(took_ms)} ms`;
  }
}

function message({ status, method, path, headers, body }) {
  const first = method ? `${method} ${path}` : `${status}`;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const text = [first, ...lines, "", JSON.stringify(body, null, 2)].join("\n");
  return codeBlock(text, method ? "Request" : "Response");
}

function secretNote(config) {
  return el("p", { class: "remark" }, "The secret key never comes to this page. It is in ", el("code", {}, config.keyFile), ".");
}

function curlBlock(config, request) {
  const command = curlOf(config.apiUrl, request);
  const note = request.headers.ApiSecret && [
    "Set it first: ",
    el("code", {}, `${SECRET_VARIABLE}=$(sed -n 's/.*"apiSecret": "\\(.*\\)".*/\\1/p' ${quoted(config.keyFile)})`),
  ];
  return [codeBlock(command, "curl command"), copyButton(() => command, "Copy command"), note && el("p", { class: "remark" }, note)];
}

function badges(flags, assurance) {
  const mobility = mobilityOf(flags);
  return el(
    "ul",
    { class: "badges", "aria-label": "The passkey" },
    el("li", { title: mobility.words }, mobility.name),
    el("li", {}, flags.UV ? "User verified" : "User not verified"),
    // A registration proves nobody yet: it has no level to show.
    assurance?.aal > 0 && el("li", { title: `amr ${assurance.amr.join(", ")}` }, `AAL ${assurance.aal} · ${assurance.acr}`),
    assurance?.attested && el("li", {}, assurance.model ?? "Attested"),
  );
}

function facts(verified) {
  const shown = ["userId", "nickname", "purpose", "type", "rpId", "origin", "device", "credentialId", "tokenId", "expiresAt"];
  return el(
    "dl",
    { class: "facts" },
    shown
      .filter((name) => verified[name] !== null && verified[name] !== "")
      .map((name) => el("div", {}, el("dt", {}, name), el("dd", {}, String(verified[name])))),
  );
}

function problemBlock(problem) {
  const errors = Object.entries(problem.errors ?? {}).map(([name, texts]) => `${name}: ${texts.join(" ")}`);
  const rows = [["errorCode", problem.errorCode], ["reason", problem.reason], ["traceId", problem.traceId]];
  const explained = /^https?:/.test(problem.type ?? "");
  return el(
    "div",
    {},
    el("p", { class: "lead" }, problem.title),
    [problem.detail, ...errors].filter(Boolean).map((text) => el("p", {}, text)),
    el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    explained && el("p", {}, el("a", { href: problem.type, target: "_blank", rel: "noreferrer" }, "What this error means, and what to do")),
  );
}
