// The plan at the top: where the ceremony is, and what goes on there.

const ROOMS = ["device", "browser", "narthex", "app"];
const AT_REST = { device: "keeps the key", browser: "this page", narthex: "checks", app: "holds the session" };

export class Plan {
  constructor(element) {
    this.element = element;
    this.reset();
  }

  /** Light one room, and say what goes on in it. */
  show(room, words) {
    this.reset();
    this.light(room, words);
    this.element.dataset.door = "outer";
  }

  /** The end: the inner door opens, or stays shut. */
  finish(entered, words) {
    this.reset();
    this.light(entered ? "app" : "browser", words);
    this.element.dataset.door = entered ? "inner" : "shut";
  }

  reset() {
    for (const room of ROOMS) {
      const element = this.element.querySelector(`[data-room="${room}"]`);
      element.classList.remove("lit");
      element.querySelector("span").textContent = AT_REST[room];
    }
  }

  light(room, words) {
    const element = this.element.querySelector(`[data-room="${room}"]`);
    element.classList.add("lit");
    element.querySelector("span").textContent = words;
  }
}
