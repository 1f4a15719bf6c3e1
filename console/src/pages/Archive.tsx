// The Dags with archived runs, and a search for runs of one of them by time.
import { useState } from "react";

import type { Archive as Data, ArchivedRuns } from "../api";
import { Badge, Card, Command, DagLink, Empty, Loaded, Table, TableCard } from "../parts";
import { ONCE, usePolled } from "../usePolled";
import { count, moment, size } from "../words";

// The archive changes once a day, or less often.
const EVERY_MS = 60_000;
const MOST_DAGS = 100;
const NONE = { dag: "", since: "", until: "", text: "" };
type Search = typeof NONE;

const day = (iso: string): string => new Date(iso).toLocaleDateString(undefined, { dateStyle: "medium" });

/** The days of a search in UTC; the last one is whole. */
const write = (asked: Search): string => {
  const words = new URLSearchParams({ dag: asked.dag.trim() });
  if (asked.since) words.set("since", `${asked.since}T00:00:00Z`);
  if (asked.until) words.set("until", new Date(Date.parse(`${asked.until}T00:00:00Z`) + 86_400_000).toISOString());
  if (asked.text.trim()) words.set("text", asked.text.trim());
  return `archive/runs?${words}`;
};

const Found = ({ data }: { data: ArchivedRuns }) => (
  <>
    <Card title={`Archived runs of ${data.dag}, the newest first`}>
      {data.runs.length ? (
        <>
          <Table
            label={`Archived runs of ${data.dag}`}
            rows={data.runs}
            keyOf={(row) => row.run_id}
            columns={[
              { name: "run", show: (row) => row.run_id },
              { name: "run after", show: (row) => moment(row.run_after) },
              { name: "tasks", isNumber: true, show: (row) => row.tasks },
              {
                name: "in the database",
                show: (row) =>
                  row.state === null ? (
                    <span className="af-muted">no</span>
                  ) : (
                    <DagLink dag={data.dag} run={row.run_id}>
                      <Badge tone="info">{row.state}</Badge>
                    </DagLink>
                  ),
              },
              { name: "restores it", show: (row) => row.state === null && <Command text={row.command} /> },
            ]}
          />
          <p>
            All of them come back with <Command text={data.command} />
          </p>
        </>
      ) : (
        <Empty title="No archived run fits">Other days, fewer letters of its id, or another Dag may find it.</Empty>
      )}
      {data.is_cut && <p className="af-muted">More runs may fit. A shorter time finds fewer.</p>}
    </Card>
    <TableCard
      title={`Months of ${data.dag}`}
      empty="No run of this Dag was archived"
      rows={data.months}
      keyOf={(row) => row.month}
      columns={[
        { name: "month", show: (row) => row.month },
        { name: "runs", isNumber: true, show: (row) => row.runs },
        { name: "tasks", isNumber: true, show: (row) => row.task_instances },
        { name: "size", isNumber: true, show: (row) => size(row.bytes) },
      ]}
    />
  </>
);

const Search = ({ asked }: { asked: Search }) => (
  <Loaded polled={usePolled<ArchivedRuns>(write(asked), ONCE)}>{(data) => <Found data={data} />}</Loaded>
);

const Dags = ({ data, onChoose }: { data: Data; onChoose: (dag: string) => void }) => {
  const shown = data.dags.slice(0, MOST_DAGS);
  return (
    <Card title="Dags with archived runs">
      <p className="af-muted">
        {count(data.runs, "run")} of {count(data.dags.length, "Dag")}, {size(data.bytes)}
      </p>
      <Table
        label="Dags with archived runs"
        rows={shown}
        keyOf={(row) => row.dag_id}
        columns={[
          { name: "Dag", show: (row) => row.dag_id },
          { name: "runs", isNumber: true, show: (row) => row.runs },
          { name: "tasks", isNumber: true, show: (row) => row.task_instances },
          { name: "months", isNumber: true, show: (row) => row.months },
          { name: "first", show: (row) => day(row.first_after) },
          { name: "last", show: (row) => day(row.last_after) },
          { name: "size", isNumber: true, show: (row) => size(row.bytes) },
          {
            name: "show",
            show: (row) => (
              <button type="button" className="af-button" aria-label={`Show ${row.dag_id}`} onClick={() => onChoose(row.dag_id)}>
                Show
              </button>
            ),
          },
        ]}
      />
      {data.dags.length > shown.length && (
        <p className="af-muted">{count(data.dags.length - shown.length, "more Dag")}: write the id above.</p>
      )}
    </Card>
  );
};

const Body = ({ data }: { data: Data }) => {
  const [draft, setDraft] = useState(NONE);
  const [asked, setAsked] = useState<Search>();
  const choose = (dag: string) => {
    const next = { ...NONE, dag };
    setDraft(next);
    setAsked(next);
  };
  if (!data.dags.length)
    return (
      <Card title="Dags with archived runs">
        <Empty title="No run was archived yet">
          With <code>archive</code> in fleet.yaml, finished runs leave the database for files after some time.
        </Empty>
      </Card>
    );
  return (
    <>
      <form
        className="af-filters"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(draft.dag.trim() ? { ...draft } : undefined);
        }}
      >
        <label>
          Dag{" "}
          <input
            list="af-archived-dags"
            maxLength={250}
            required
            value={draft.dag}
            onChange={(event) => setDraft({ ...draft, dag: event.target.value })}
          />
        </label>
        <datalist id="af-archived-dags">
          {data.dags.map((one) => (
            <option key={one.dag_id} value={one.dag_id} />
          ))}
        </datalist>
        <label>
          from{" "}
          <input type="date" value={draft.since} onChange={(event) => setDraft({ ...draft, since: event.target.value })} />
        </label>
        <label>
          to (UTC){" "}
          <input type="date" value={draft.until} onChange={(event) => setDraft({ ...draft, until: event.target.value })} />
        </label>
        <label>
          in the id of the run{" "}
          <input
            type="search"
            maxLength={250}
            placeholder="manual__"
            value={draft.text}
            onChange={(event) => setDraft({ ...draft, text: event.target.value })}
          />
        </label>
        <button type="submit" className="af-button af-primary">
          Find
        </button>
      </form>
      {asked && <Search asked={asked} />}
      <Dags data={data} onChoose={choose} />
    </>
  );
};

export const Archive = () => <Loaded polled={usePolled<Data>("archive", EVERY_MS)}>{(data) => <Body data={data} />}</Loaded>;
