// What happened on the platform, on one time line.
import { useState } from "react";

import type { Incident as Data } from "../api";
import { Badge, Command, Loaded, TableCard } from "../parts";
import { usePolled } from "../usePolled";
import { moment } from "../words";

// A time line costs more to read than other pages do.
const EVERY_MS = 30_000;
const SPANS: [string, number][] = [
  ["1 hour", 1],
  ["2 hours", 2],
  ["6 hours", 6],
  ["1 day", 24],
  ["3 days", 72],
  ["7 days", 168],
];

/** A moment as `airfleet incident` takes it, in UTC. */
const written = (iso: string) => `"${iso.slice(0, 16).replace("T", " ")}"`;

const Shown = ({ data, kind, isBadOnly }: { data: Data; kind: string; isBadOnly: boolean }) => {
  const shown = data.events.filter((one) => (!kind || one.kind === kind) && (!isBadOnly || one.is_bad));
  const [since, until] = [new Date(data.since), new Date(data.until)].map((one) => written(one.toISOString()));
  return (
    <>
      <TableCard
        title="What happened"
        empty={data.events.length ? "No event fits" : "Nothing happened that the platform writes down"}
        rows={shown.map((one, place) => ({ ...one, place }))}
        keyOf={(row) => row.place}
        columns={[
          { name: "when", show: (row) => <time dateTime={row.at}>{moment(row.at)}</time> },
          { name: "kind", show: (row) => <Badge tone={row.is_bad ? "bad" : "plain"}>{row.kind}</Badge> },
          {
            name: "what",
            show: (row) => (
              <>
                {row.subject && <strong>{row.subject}: </strong>}
                {row.what}
                {row.count > 1 && <span className="af-muted"> ({row.count} times)</span>}
              </>
            ),
          },
          { name: "by", show: (row) => row.actor || "–" },
        ]}
      />
      {data.is_cut && <p className="af-muted">There were more events than are shown. A shorter time shows all of its own.</p>}
      {data.hides_changes && (
        <p className="af-muted">What people changed is shown to those who have the right Audit Logs (read).</p>
      )}
      <p>
        As a draft of a review: <Command text={`airfleet incident --since ${since} --until ${until} --markdown`} />
      </p>
    </>
  );
};

export const Incident = () => {
  const [hours, setHours] = useState(2);
  const [until, setUntil] = useState("");
  const [kind, setKind] = useState("");
  const [isBadOnly, setBadOnly] = useState(false);
  const words = new URLSearchParams({ hours: String(hours) });
  if (until) words.set("until", new Date(until).toISOString());
  const polled = usePolled<Data>(`incident?${words}`, EVERY_MS);
  const kinds = [...new Set(polled.data?.events.map((one) => one.kind))].sort();
  return (
    <>
      <form className="af-filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          The last{" "}
          <select value={hours} onChange={(event) => setHours(Number(event.target.value))}>
            {SPANS.map(([name, value]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          until (empty: now){" "}
          <input type="datetime-local" value={until} onChange={(event) => setUntil(event.target.value)} />
        </label>
        <label>
          kind{" "}
          <select value={kind} onChange={(event) => setKind(event.target.value)}>
            <option value="">all</option>
            {kinds.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={isBadOnly} onChange={(event) => setBadOnly(event.target.checked)} /> only what
          went wrong
        </label>
      </form>
      <Loaded polled={polled}>{(data) => <Shown data={data} kind={kind} isBadOnly={isBadOnly} />}</Loaded>
    </>
  );
};
