// The page's beginning: the store says when to draw, at most once a frame.

import { render } from "preact";
import { App } from "./app.tsx";
import { store } from "./store.ts";

const root = document.getElementById("root")!;
let asked = false;

function draw(): void {
  if (asked) return;
  asked = true;
  const now = () => {
    if (!asked) return;
    asked = false;
    render(<App />, root);
  };
  requestAnimationFrame(now);
  setTimeout(now, 200); // a page in the background gets no frames, but its title and state go on
}

void store.start(draw);
draw();
