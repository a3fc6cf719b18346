// The rows: a window into a list of any length, of rows of one height and at most one open row's detail.

import { Fragment } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Detail } from "./detail.tsx";
import { Empty } from "./empty.tsx";
import { byShipper, valueText, type LogEvent } from "./event.ts";
import type { Marks } from "./marks.ts";
import { isGap, type Gap, type Item, type Search } from "./search.ts";
import { Text } from "./shown.tsx";
import { store } from "./store.ts";
import { count, cut, hue, plainText, plural, withoutColours } from "./text.ts";
import { dayOf, sameDay, timeOfDay } from "./time.ts";

export const rowHeight = 21; // px; style.css has it too
const overscan = 15;
const mostLooked = 10_000; // rows that are loaded to find the one that an address names
const mostShown = 600; // characters of a row

/** Set by the list that is drawn: moves the keyboard by so many rows, 0 opens. */
export let focusRow: (step: number) => void = () => undefined;

export function List() {
  const box = useRef<HTMLDivElement>(null);
  const detail = useRef<HTMLDivElement>(null);
  const wanted = useRef(""); // id of the row that is looked for
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  const [open, setOpenHeight] = useState(0);
  const search = store.shown;
  const items = search?.items ?? [];
  const openAt = store.place.id ? items.findIndex((i) => i.id === store.place.id) : -1;
  const extra = openAt < 0 ? 0 : open;
  const tail = search?.older || search?.letGo ? rowHeight * 2 : 0;

  // The row at a height.
  const at = (y: number) => {
    if (openAt >= 0 && y > (openAt + 1) * rowHeight) y = Math.max((openAt + 1) * rowHeight, y - extra);
    return Math.floor(y / rowHeight);
  };
  const first = Math.max(0, at(top) - overscan);
  const last = Math.min(items.length, at(top + height) + overscan);
  const offset = first * rowHeight + (openAt >= 0 && openAt < first ? extra : 0);

  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => {
      if (box.current) setHeight(box.current.clientHeight);
      if (detail.current) setOpenHeight(detail.current.offsetHeight);
    });
    if (box.current) watch.observe(box.current);
    if (detail.current) watch.observe(detail.current);
    return () => watch.disconnect();
  }, [openAt >= first && openAt < last, store.place.id, search]);

  // A new search begins at its top.
  useLayoutEffect(() => {
    if (box.current) box.current.scrollTop = 0;
    setTop(0);
    wanted.current = store.place.id;
  }, [search]);

  // The row that an address names is shown as soon as it is there.
  useLayoutEffect(() => {
    if (wanted.current !== store.place.id) wanted.current = "";
    if (!wanted.current || openAt < 0 || !box.current) return;
    wanted.current = "";
    if (openAt > 5) box.current.scrollTop = (openAt - 5) * rowHeight;
  });

  // Who looks at older rows, or at one, is not pushed away by newer ones.
  useLayoutEffect(() => search?.hold(top > 0 || openAt >= 0));

  useLayoutEffect(() => {
    const looking = wanted.current !== "" && items.length < mostLooked;
    if (search?.older && !search.olderFailed && (looking || last >= items.length - 50)) void search.loadOlder();
  });

  focusRow = (step) => {
    const now = items.findIndex((i) => i.id === store.selected);
    if (step === 0) {
      const item = items[now];
      if (item && isGap(item)) void search?.loadGap(item);
      else if (item) store.openRow(item);
      return;
    }
    const from = now < 0 ? (step > 0 ? Math.max(0, at(top)) - 1 : 1) : now;
    const to = Math.min(items.length - 1, Math.max(0, from + step));
    const item = items[to];
    if (!item || !box.current) return;
    store.selected = item.id;
    const y = to * rowHeight + (openAt >= 0 && openAt < to ? extra : 0);
    if (y < box.current.scrollTop) box.current.scrollTop = y;
    else if (y + rowHeight * 2 > box.current.scrollTop + height) box.current.scrollTop = y + rowHeight * 2 - height;
    if (document.activeElement !== box.current) box.current.focus({ preventScroll: true });
    store.draw();
  };

  const today = new Date();
  const ends = [items[0], items[items.length - 1]];
  const dated = ends.some((i) => i && !isGap(i) && !sameDay(new Date(i.time), today));
  const waiting = search?.waiting.reduce((n, i) => n + (isGap(i) ? i.rows : 1), 0) ?? 0;

  return (
    <div class="results">
      {waiting > 0 && store.place.live && (
        <button
          class="newer"
          onClick={() => {
            store.closeRow();
            if (box.current) box.current.scrollTop = 0;
            setTop(0);
            search?.hold(false);
          }}
        >
          ↑ {count(waiting)} new
        </button>
      )}
      <div
        ref={box}
        class={`rows ${dated ? "dated" : ""} ${store.next ? "stale" : ""}`}
        role="grid"
        tabIndex={0}
        aria-label="Events, newest first"
        aria-rowcount={items.length}
        aria-busy={store.next !== undefined}
        aria-activedescendant={store.selected ? `row-${store.selected}` : undefined}
        onScroll={(e) => setTop(e.currentTarget.scrollTop)}
      >
        {search && items.length === 0 ? (
          <Empty search={search} />
        ) : (
          <div class="canvas" role="presentation" style={{ height: `${items.length * rowHeight + extra + tail}px` }}>
            <div class="window" role="presentation" style={{ transform: `translateY(${offset}px)` }}>
              {items.slice(first, last).map((item, i) => (
                <Fragment key={item.id}>
                  {isGap(item) ? <GapRow gap={item} search={search!} at={first + i} /> : <Row event={item} at={first + i} marks={store.marks} />}
                  {item.id === store.place.id && !isGap(item) && (
                    <div class="open" role="row" ref={detail}>
                      <Detail event={item} />
                    </div>
                  )}
                </Fragment>
              ))}
              {last === items.length && search && <End search={search} items={items} />}
            </div>
          </div>
        )}
      </div>
    </div>
  );
}

const serious = /^(?:emergency|alert|critical)$/;

export const levelClass = (level: string | undefined) => (level === undefined ? "none" : serious.test(level) ? "error critical" : level);

function Row({ event, at, marks }: { event: LogEvent; at: number; marks: Marks }) {
  const e = event;
  const open = e.id === store.place.id;
  const message = cut(withoutColours(e.message ?? ""), mostShown);
  return (
    <div
      id={`row-${e.id}`}
      class={`row ${levelClass(e.level)} ${e.id === store.selected ? "selected" : ""} ${open ? "opened" : ""}`}
      role="row"
      aria-rowindex={at + 1}
      aria-expanded={open}
      aria-selected={e.id === store.selected}
      onClick={() => document.getSelection()?.toString() || store.openRow(e)}
    >
      <Cells event={e} />
      <span class="m" role="gridcell">
        <Text text={message.replace(/\r?\n/g, " ↵ ").replace(/\t/g, " ")} marks={marks.message} />
        <Fields event={e} marks={marks} room={mostShown - message.length} />
      </span>
    </div>
  );
}

/** For a narrow screen. */
const shortLevels: Record<string, string> = {
  emergency: "emer",
  alert: "alrt",
  critical: "crit",
  error: "err",
  warning: "warn",
  notice: "note",
  debug: "debg",
};

/** Level, time and service of a row. */
export function Cells({ event: e }: { event: LogEvent }) {
  const service = plainText(e.service ?? "");
  return (
    <>
      <i class="lv" aria-hidden="true" />
      <span class="t" role="gridcell" title={`${e.time} (UTC)`}>
        <b class="day">{dayOf(e.time)}</b> {timeOfDay(e.time)}
      </span>
      <span class="l" role="gridcell" data-short={e.level && (shortLevels[e.level] ?? e.level)}>
        {e.level}
      </span>
      <span class="s" role="gridcell" title={service} style={{ "--hue": hue(service) }}>
        <bdi>{service}</bdi>
      </span>
    </>
  );
}

/** The extra fields, dimmed, as far as there is room. */
function Fields({ event, marks, room }: { event: LogEvent; marks: Marks; room: number }) {
  const all: [string, string][] = [];
  for (const [name, value] of Object.entries(event.fields ?? {})) {
    if (room <= 0) break;
    if (byShipper(name)) continue;
    const text = cut(withoutColours(valueText(value)).replace(/\s+/g, " "), Math.min(room, 120));
    room -= name.length + text.length + 2;
    all.push([cut(name, 60), text]);
  }
  return (
    <>
      {all.map(([name, text]) => (
        <span class="x">
          {"  "}
          <Text text={name} />=<Text text={text} marks={marks.fields} />
        </span>
      ))}
    </>
  );
}

function GapRow({ gap, search, at }: { gap: Gap; search: Search; at: number }) {
  return (
    <div class={`row gap ${gap.id === store.selected ? "selected" : ""}`} role="row" aria-rowindex={at + 1} id={`row-${gap.id}`}>
      <span role="gridcell">
        {plural(gap.rows, "line")} not shown: <Text text={cut(gap.why, 160)} /> ·{" "}
        <button class="link" disabled={gap.loading} onClick={() => void search.loadGap(gap)}>
          {gap.loading ? "loading …" : "load"}
        </button>
      </span>
    </div>
  );
}

function End({ search, items }: { search: Search; items: Item[] }) {
  if (search.olderFailed)
    return (
      <div class="end" role="row">
        Older rows did not come.{" "}
        <button class="link" onClick={() => void search.loadOlder()}>
          Try again
        </button>
      </div>
    );
  if (search.older) return <div class="end">{search.loadingOlder ? "loading older rows …" : ""}</div>;
  if (search.letGo)
    return (
      <div class="end">
        {count(items.length)} rows are what a page holds.{" "}
        {search.connection ? "Older ones were let go." : "For older ones choose a shorter range or a narrower query."}
      </div>
    );
  return null;
}
