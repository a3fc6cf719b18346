// The page: top bar, sidebar, the view, the footer; keys; what concerns all of it (offline, help, login).

import { useEffect, useRef } from "preact/hooks";
import { command, writeAddress, type View } from "./links.ts";
import { Icon } from "./shown.tsx";
import { focusRow, List } from "./list.tsx";
import { Login } from "./login.tsx";
import { QueryBox } from "./querybox.tsx";
import { RangeMenu } from "./range.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Notes, Status } from "./status.tsx";
import { store, type Theme } from "./store.ts";
import { plural } from "./text.ts";
import { Alerts, Containers, Probes, Services } from "./views.tsx";

const views: { view: View; label: string }[] = [
  { view: "explore", label: "Explore" },
  { view: "services", label: "Services" },
  { view: "alerts", label: "Alerts" },
  { view: "containers", label: "Containers" },
  { view: "probes", label: "Probes" },
];

export function App() {
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  if (store.login.needed) return <Login />;
  if (!store.me) return store.offline ? <Offline /> : null;
  const view = store.place.view;
  return (
    <div class={`page ${view}`}>
      <Top />
      {store.offline && <Offline />}
      {view === "explore" ? (
        <>
          <Sidebar />
          <main>
            <div class="ask">
              <QueryBox />
              <RangeMenu />
              <LiveButton />
            </div>
            <Notes />
            <Status />
            <List />
          </main>
        </>
      ) : (
        <main class="view">{{ services: <Services />, alerts: <Alerts />, containers: <Containers />, probes: <Probes /> }[view]}</main>
      )}
      <Footer />
      {store.help && <Help />}
      <div class="said" role="status" aria-live="polite">
        {store.said}
      </div>
    </div>
  );
}

function go(e: MouseEvent, view: View) {
  if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return;
  e.preventDefault();
  store.go({ view }, { run: view === "explore" && !store.shown });
}

function Top() {
  const themes: Record<Theme, { next: Theme; icon: "auto" | "sun" | "moon"; label: string }> = {
    auto: { next: "light", icon: "auto", label: "Theme: as the system" },
    light: { next: "dark", icon: "sun", label: "Theme: light" },
    dark: { next: "auto", icon: "moon", label: "Theme: dark" },
  };
  const theme = themes[store.theme];
  const counted: Partial<Record<View, string>> = { alerts: "firing", probes: "down" };
  const worst = (view: View) => store.lists[view]?.rows.filter((row) => (row as { state?: string }).state === counted[view]).length;
  return (
    <header>
      <button
        class="plain fold"
        aria-label="Levels, services, fields"
        aria-expanded={store.sidebar}
        onClick={() => ((store.sidebar = !store.sidebar), store.draw())}
      >
        <Icon name="menu" />
      </button>
      <a class="brand" href="/" onClick={(e) => go(e, "explore")}>
        <Icon name="eye" />
        <span>lookout</span>
      </a>
      <nav aria-label="Views">
        {views.map((v) => (
          <a
            href={writeAddress({ ...store.place, view: v.view, id: "" })}
            aria-current={v.view === store.place.view ? "page" : undefined}
            onClick={(e) => go(e, v.view)}
          >
            {v.label}
            {counted[v.view] && worst(v.view) ? <b>{worst(v.view)}</b> : null}
          </a>
        ))}
      </nav>
      <div class="tools">
        <span class="key">
          <kbd>/</kbd> query
        </span>
        <button class="plain key" onClick={() => showHelp(true)}>
          <kbd>?</kbd> keys
        </button>
        <button class="plain" title={theme.label} aria-label={theme.label} onClick={() => store.setTheme(theme.next)}>
          <Icon name={theme.icon} />
        </button>
        <button class="plain" title={`Log out ${store.me?.name ?? ""}`} aria-label="Log out" onClick={() => void store.logout()}>
          <Icon name="out" />
        </button>
      </div>
    </header>
  );
}

function LiveButton() {
  const s = store.shown;
  const { live } = store.place;
  const c = live ? s?.connection : undefined;
  const word = !live ? "Live" : c === "waiting" ? "Reconnecting" : c !== "on" ? "Connecting" : s!.waiting.length ? "Paused" : "Live";
  return (
    <button
      class={`live ${live ? "is-" + word.toLowerCase() : ""}`}
      aria-pressed={live}
      title={live ? "Stop following (l)" : "Follow what arrives (l)"}
      onClick={() => store.setLive(!live)}
    >
      <i aria-hidden="true" />
      {word}
    </button>
  );
}

function Footer() {
  const cli = command(store.place);
  return (
    <footer>
      <span class={store.offline ? "bad" : "ok"}>
        <i aria-hidden="true" />
        {store.offline ? "no connection" : "connected"}
      </span>
      {store.services && <span>{plural(store.services.length, "service")}</span>}
      <span class="version">{store.me?.version}</span>
      {store.place.view === "explore" && (
        <button class="cli" title="Copy: the same search on the command line" onClick={() => void store.copy(cli, "the command")}>
          <code>{cli}</code>
          <Icon name="copy" />
        </button>
      )}
    </footer>
  );
}

function Offline() {
  return (
    <div class="offline" role="alert">
      The server does not answer. The page tries again by itself; what is shown stays.
    </div>
  );
}

function showHelp(on: boolean) {
  store.help = on;
  store.draw();
}

const keys: [string, string][] = [
  ["/", "to the query"],
  ["Enter", "run the query · open the row"],
  ["↑ ↓ in the query", "earlier queries · suggestions"],
  ["Tab in the query", "take the suggestion"],
  ["j k or ↓ ↑", "to the next or previous row"],
  ["Esc", "close the row, the suggestions, this"],
  ["l", "live on and off"],
  ["g G", "to the newest · to the oldest row loaded"],
  ["?", "this"],
];

const examples: [string, string][] = [
  ["timeout", "the message or any field's value contains it"],
  ['"connection refused" -healthz', "a phrase, and without a word"],
  ["service:pay* level>=warning", "a field, with a glob; a level and worse"],
  ["status:500..599 duration>1.5s", "a range; a duration"],
  ['path~"^/api/v[12]/" NOT user.id:*', "a regular expression; a field that is not there"],
  ["a OR (b -c)", "either; parentheses"],
];

function Help() {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => box.current?.showModal(), []);
  return (
    <dialog
      ref={box}
      class="help"
      aria-label="Keys and the query language"
      onClose={() => showHelp(false)}
      onClick={(e) => e.target === box.current && showHelp(false)}
    >
      <div>
        <h2>Keys</h2>
        <dl>
          {keys.map(([k, what]) => (
            <>
              <dt>
                <kbd>{k}</kbd>
              </dt>
              <dd>{what}</dd>
            </>
          ))}
        </dl>
        <h2>Queries</h2>
        <dl class="wide">
          {examples.map(([q, what]) => (
            <>
              <dt>
                <code>{q}</code>
              </dt>
              <dd>{what}</dd>
            </>
          ))}
        </dl>
        <button class="plain close" aria-label="Close" onClick={() => showHelp(false)}>
          <Icon name="close" />
        </button>
      </div>
    </dialog>
  );
}

function onKey(e: KeyboardEvent) {
  if (e.ctrlKey || e.metaKey || e.altKey || store.help || store.login.needed || !store.me) return;
  const target = e.target as HTMLElement;
  if (target.closest("input, textarea, select, dialog")) return;
  if (e.key === "?") return showHelp(true);
  if (store.place.view !== "explore") return;
  const onButton = target.closest("button, a") !== null && !target.closest(".rows .row");
  const actions: Record<string, () => void> = {
    "/": () => {
      const box = document.querySelector<HTMLTextAreaElement>(".query textarea");
      box?.focus();
      box?.setSelectionRange(box.value.length, box.value.length);
    },
    l: () => store.setLive(!store.place.live),
    j: () => focusRow(1),
    k: () => focusRow(-1),
    ArrowDown: () => focusRow(1),
    ArrowUp: () => focusRow(-1),
    g: () => focusRow(-Infinity),
    G: () => focusRow(Infinity),
    Escape: () => (store.sidebar ? ((store.sidebar = false), store.draw()) : store.closeRow()),
    ...(onButton ? {} : { Enter: () => focusRow(0) }),
  };
  const action = actions[e.key];
  if (!action) return;
  e.preventDefault();
  action();
}
