import type { Breakers as Data } from "../api";
import { Ago, Badge, Card, Command, Empty, Loaded, Table, TableCard, type Tone } from "../parts";
import { usePolled } from "../usePolled";
import { moment } from "../words";

const TONES: Record<string, Tone> = { closed: "good", open: "bad", "half-open": "warn" };

const Next = ({ one }: { one: Data["breakers"][number] }) => {
  if (one.state === "closed") return <>–</>;
  if (one.wave) return <>{one.wave} tasks may run, to find out whether the service is back</>;
  return one.probe_at ? <>next probe at {moment(one.probe_at)}</> : <>no probe: somebody closes it by hand</>;
};

const Share = ({ of, most }: { of: number; most: number | null }) => <>{most === null ? of : `${of} of ${most}`}</>;

export const Breakers = () => {
  const polled = usePolled<Data>("breakers");
  return (
    <Loaded polled={polled}>
      {(data) =>
        data.breakers.length === 0 && data.events.length === 0 && data.limits.length === 0 ? (
          <Empty title="There is no circuit breaker">
            <p>
              Rules under <code>breakers</code> in fleet.yaml let tasks wait while a service that they need is away. Those
              under <code>limits</code> let them wait while it gets as many calls as it bears.
            </p>
            <Command text="airfleet breaker list" />
          </Empty>
        ) : (
          <>
            <Card title="Circuit breakers">
              <Table
                label="Circuit breakers"
                rows={data.breakers}
                keyOf={(row) => row.name}
                columns={[
                  { name: "service", show: (row) => row.name },
                  { name: "state", show: (row) => <Badge tone={TONES[row.state] ?? "plain"}>{row.state}</Badge> },
                  { name: "open for", show: (row) => <Ago at={row.opened_at} suffix="" /> },
                  { name: "tasks wait", isNumber: true, show: (row) => row.waiting },
                  { name: "next", show: (row) => <Next one={row} /> },
                  { name: "why", show: (row) => row.reason || "–" },
                  {
                    name: "by hand",
                    show: (row) => (
                      <Command
                        text={
                          row.state === "closed"
                            ? `airfleet breaker open ${row.name} --reason "why"`
                            : `airfleet breaker close ${row.name} --reason "why"`
                        }
                      />
                    ),
                  },
                ]}
              />
            </Card>
            {data.limits.length > 0 && (
              <Card title="Limits of services">
                <Table
                  label="Limits of services"
                  rows={data.limits}
                  keyOf={(row) => row.name}
                  columns={[
                    { name: "service", show: (row) => row.name },
                    { name: "starts in the last minute", isNumber: true, show: (row) => <Share of={row.starts} most={row.starts_per_minute} /> },
                    { name: "tasks at once", isNumber: true, show: (row) => <Share of={row.active} most={row.at_once} /> },
                    { name: "tasks wait", isNumber: true, show: (row) => row.waiting },
                  ]}
                />
              </Card>
            )}
            <TableCard
              title="Last changes"
              empty="Nothing has changed yet"
              rows={data.events}
              keyOf={(row) => `${row.breaker}${row.happened_at}${row.state}${row.wave}`}
              columns={[
                { name: "when", show: (row) => <Ago at={row.happened_at} /> },
                { name: "service", show: (row) => row.breaker },
                {
                  name: "state",
                  show: (row) => (
                    <Badge tone={TONES[row.state] ?? "plain"}>
                      {row.state}
                      {row.wave ? ` (${row.wave})` : ""}
                    </Badge>
                  ),
                },
                { name: "by", show: (row) => row.actor || "–" },
                { name: "why", show: (row) => row.reason || "–" },
              ]}
            />
          </>
        )
      }
    </Loaded>
  );
};
