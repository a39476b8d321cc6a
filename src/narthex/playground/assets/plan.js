// The plan at the top: where the ceremony is, and what goes on there.

export class Plan {
  constructor(element) {
    this.element = element;
    this.rooms = Array.from(element.querySelectorAll("[data-room]"));
    this.atRest = this.rooms.map((room) => room.querySelector("span").textContent);
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
    this.rooms.forEach((room, index) => {
      room.classList.remove("lit");
      room.querySelector("span").textContent = this.atRest[index];
    });
    this.element.dataset.door = "shut";
  }

  light(name, words) {
    const room = this.rooms.find((each) => each.dataset.room === name);
    room.classList.add("lit");
    room.querySelector("span").textContent = words;
  }
}
