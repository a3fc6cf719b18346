// Texts from outside, drawn: text nodes only, what cannot be shown written out, what matched marked.

import { find, type Mark } from "./marks.ts";
import { show } from "./text.ts";

export function Text({ text, marks }: { text: string; marks?: readonly Mark[] }) {
  return (
    <bdi>
      {show(text, marks?.length ? find(text, marks) : []).map((p) =>
        p.marked ? <mark class={p.written ? "written" : undefined}>{p.text}</mark> : p.written ? <span class="written">{p.text}</span> : p.text,
      )}
    </bdi>
  );
}

const icons = {
  eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12z M12 9a3 3 0 1 0 0 6a3 3 0 1 0 0-6",
  menu: "M4 7h16M4 12h16M4 17h16",
  sun: "M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8 M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
  auto: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18 M12 3v18 M12 7h7 M12 12h9 M12 17h7",
  out: "M10 4H5v16h5 M14 8l4 4-4 4 M18 12H9",
  copy: "M9 9h11v11H9z M5 15H4V4h11v1",
  plus: "M11 18a7 7 0 1 0 0-14a7 7 0 1 0 0 14z M16 16l5 5 M11 8v6M8 11h6",
  minus: "M11 18a7 7 0 1 0 0-14a7 7 0 1 0 0 14z M16 16l5 5 M8 11h6",
  down: "M7 10l5 5 5-5",
  close: "M6 6l12 12M18 6L6 18",
};

export function Icon({ name }: { name: keyof typeof icons }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={icons[name]} />
    </svg>
  );
}
