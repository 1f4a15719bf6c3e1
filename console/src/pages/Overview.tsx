import { NavLink } from "react-router-dom";

import type { Level, Overview as Data, Problem } from "../api";
import { Ago, Badge, Card, Command, Empty, Figure, Loaded, Table, type Tone } from "../parts";
import { usePolled } from "../usePolled";
import { duration } from "../words";

const TONES: Record<Level, Tone> = { broken: "bad", warning: "warn", note: "info" };
const VERDICTS: Record<Data["verdict"], Tone> = { well: "good", attention: "warn", broken: "bad" };
const PAGES: Record<string, string> = { alerts: "Alerts", slas: "SLAs", pools: "Pools and queues", releases: "Releases", breakers: "Breakers" };

const ProblemLine = ({ problem }: { problem: Problem }) => (
  <li className={`af-problem af-edge-${TONES[problem.level]}`}>
    <div>
      <Badge tone={TONES[problem.level]}>{problem.level}</Badge>
      {problem.since && <Ago at={problem.since} />}
      {problem.page && PAGES[problem.page] && (
        <NavLink className="af-link" to={`/plugin/fleet/${problem.page}`}>
          {PAGES[problem.page]}
        </NavLink>
      )}
    </div>
    <p>{problem.what}</p>
    <Command text={problem.command} />
  </li>
);

export const Overview = () => {
  const polled = usePolled<Data>("overview");
  return (
    <Loaded polled={polled}>
      {(data) => (
        <>
          <div className={`af-verdict af-${VERDICTS[data.verdict]}`} role="status">
            {data.sentence}
          </div>
          <Card title="What is wrong">
            {data.problems.length ? (
              <ul className="af-problems">
                {data.problems.map((one, place) => (
                  <ProblemLine key={`${one.what}${place}`} problem={one} />
                ))}
              </ul>
            ) : (
              <Empty title="Nothing is wrong">
                Schedulers, queues, promises, Dag files and alerts were looked at.
              </Empty>
            )}
          </Card>
          <Card title="Now">
            <dl className="af-figures">
              <Figure name="tasks running" value={data.states["running"] ?? 0} />
              <Figure name="tasks queued" value={data.states["queued"] ?? 0} />
              <Figure name="tasks scheduled" value={data.states["scheduled"] ?? 0} />
              <Figure name="tasks deferred" value={data.states["deferred"] ?? 0} />
              <Figure name="runs active" value={data.runs["running"] ?? 0} />
              <Figure name="runs waiting" value={data.runs["queued"] ?? 0} />
              <Figure name="succeeded in the last minute" value={data.last_minute.succeeded} />
              <Figure
                name="failed in the last minute"
                value={data.last_minute.failed}
                tone={data.last_minute.failed ? "bad" : "plain"}
              />
              <Figure
                name="promises late"
                value={data.promises["late"] ?? 0}
                tone={data.promises["late"] ? "bad" : "plain"}
              />
              <Figure
                name="alerts open"
                value={Object.values(data.alerts).reduce((sum, one) => sum + one, 0)}
                tone={data.alerts["critical"] ? "bad" : data.alerts["warning"] ? "warn" : "plain"}
              />
            </dl>
          </Card>
          <Card
            title="Components"
            more={
              data.lease && (
                <span className="af-muted">
                  {data.lease.holder
                    ? `The scheduler ${data.lease.holder} works; its lease was renewed ${duration(data.lease.renewed_age_s)} ago.`
                    : "No scheduler holds the lease."}
                </span>
              )
            }
          >
            {data.components.length ? (
              <Table
                label="Components"
                rows={data.components}
                keyOf={(row) => `${row.type}${row.host}${data.components.indexOf(row)}`}
                columns={[
                  { name: "component", show: (row) => row.type.replace(/Job$/, "") },
                  { name: "host", show: (row) => row.host || "–" },
                  {
                    name: "state",
                    show: (row) =>
                      row.heartbeat_age_s > 30 ? <Badge tone="bad">silent</Badge> : <Badge tone="good">works</Badge>,
                  },
                  { name: "last heartbeat", isNumber: true, show: (row) => `${duration(row.heartbeat_age_s)} ago` },
                ]}
              />
            ) : (
              <Empty title="No component has reported within a day" />
            )}
          </Card>
          {data.live && (
            <Card title="Live release">
              <p>
                <NavLink className="af-link" to="/plugin/fleet/releases">
                  <code>{data.live.short}</code>
                </NavLink>{" "}
                {data.live.message && `“${data.live.message}” `}
                built <Ago at={data.live.built_at} /> by {data.live.built_by || "somebody"}
              </p>
            </Card>
          )}
        </>
      )}
    </Loaded>
  );
};
