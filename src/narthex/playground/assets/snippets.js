// "In your own app": the official SDKs, pointed here.

import { codeBlock, copyButton, el } from "./dom.js";

const SECRET_IN_NODE = "process.env.API_SECRET";

function snippets({ apiUrl, apiKey }) {
  return [
    ["Browser", "npm install @passwordlessdev/passwordless-client", `import { Client } from "@passwordlessdev/passwordless-client";

const passwordless = new Client({ apiUrl: "${apiUrl}", apiKey: "${apiKey}" });
const made = await passwordless.register(registerToken, "My laptop");  // the token is your backend's
const { token, error } = await passwordless.signinWithDiscoverable();  // send the token to your backend`],
    ["Node.js", "npm install @passwordlessdev/passwordless-nodejs", `import { PasswordlessClient } from "@passwordlessdev/passwordless-nodejs";

const passwordless = new PasswordlessClient(${SECRET_IN_NODE}, { baseUrl: "${apiUrl}" });
const { token: registerToken } = await passwordless.createRegisterToken({ userId: user.id, username: user.name });
const verified = await passwordless.verifyToken(token);  // verified.userId has signed in`],
    ["Python", "pip install passwordless", `from passwordless import PasswordlessClientBuilder, PasswordlessOptions, RegisterToken, VerifySignIn

passwordless = PasswordlessClientBuilder(PasswordlessOptions(os.environ["API_SECRET"], "${apiUrl}")).build()
register_token = passwordless.register_token(RegisterToken(user_id=user.id, username=user.name)).token
verified = passwordless.sign_in(VerifySignIn(token))  # verified.user_id has signed in`],
    ["cURL", null, `curl ${apiUrl}/register/token -H "ApiSecret: $API_SECRET" -H "Content-Type: application/json" \\
  -d '{"userId": "42", "username": "ada"}'
curl ${apiUrl}/signin/verify -H "ApiSecret: $API_SECRET" -H "Content-Type: application/json" \\
  -d '{"token": "verify_…"}'`],
  ];
}

/** Tabs (WAI-ARIA, tabs pattern): one stop of the Tab key, arrows between them. */
export function showSnippets(container, config) {
  const all = snippets(config);
  const panels = all.map(([, install, code], index) =>
    el(
      "div",
      { role: "tabpanel", id: `snippet-${index}`, "aria-labelledby": `snippet-tab-${index}`, hidden: index > 0 },
      install && el("p", { class: "install" }, el("code", {}, install)),
      codeBlock(code, `Code for ${all[index][0]}`),
      copyButton(() => code, "Copy code"),
    ),
  );
  const tabs = all.map(([name], index) =>
    el(
      "button",
      {
        type: "button", role: "tab", id: `snippet-tab-${index}`, "aria-controls": `snippet-${index}`,
        "aria-selected": String(index === 0), tabindex: index === 0 ? "0" : "-1", onclick: () => choose(index),
      },
      name,
    ),
  );

  function choose(chosen) {
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
      panels[index].hidden = index !== chosen;
    });
    tabs[chosen].focus();
  }

  const list = el("div", { role: "tablist", "aria-label": "Language" }, tabs);
  list.addEventListener("keydown", (event) => {
    const now = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose((next + tabs.length) % tabs.length);
  });
  container.append(list, ...panels);
}
