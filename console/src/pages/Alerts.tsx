import { useState } from "react";

import { change, type Alert, type Alerts as Data } from "../api";
import { Ago, Badge, Card, Command, Confirmation, Empty, Loaded, Reason, type Tone } from "../parts";
import { usePolled } from "../usePolled";

const TONES: Record<Alert["severity"], Tone> = { critical: "bad", warning: "warn", info: "info" };

const Told = ({ alert }: { alert: Alert }) =>
  alert.notified.length ? (
    <>
      {alert.notified.map((one, place) => {
        const words = (["sent", "unsent", "failed"] as const).filter((key) => one[key]).map((key) => `${one[key]} ${key}`);
        return (
          <span key={one.receiver} className={one.failed ? "af-text-bad" : undefined}>
            {place > 0 && " · "}
            {one.receiver}: {words.join(", ")}
            {one.error ? ` (${one.error})` : ""}
          </span>
        );
      })}
    </>
  ) : (
    <>nobody yet</>
  );

interface Question {
  alert: Alert;
  what: "acknowledge" | "silence";
}

const TIMES: [string, number][] = [
  ["1 hour", 3600],
  ["4 hours", 14_400],
  ["1 day", 86_400],
  ["1 week", 604_800],
];

const AlertItem = ({ alert, onAsk }: { alert: Alert; onAsk?: (what: Question["what"]) => void }) => (
  <li className={`af-problem af-edge-${alert.resolved_at ? "plain" : TONES[alert.severity]}`}>
    <div>
      <Badge tone={alert.resolved_at ? "plain" : TONES[alert.severity]}>{alert.severity}</Badge>
      <strong>{alert.name}</strong>
      <span className="af-muted">
        no. {alert.id}, {alert.state}, began <Ago at={alert.started_at} />
      </span>
    </div>
    <p>{alert.summary}</p>
    <p className="af-labels">
      {Object.entries(alert.labels).map(([key, text]) => (
        <code key={key}>
          {key}={text}
        </code>
      ))}
    </p>
    <p className="af-muted">
      Notified: <Told alert={alert} />
    </p>
    {onAsk && (
      <p className="af-labels">
        {!alert.acknowledged_by && (
          <button
            type="button"
            className="af-button"
            onClick={() => onAsk("acknowledge")}
            aria-label={`Acknowledge alert ${alert.id}`}
          >
            Acknowledge
          </button>
        )}
        <button type="button" className="af-button" onClick={() => onAsk("silence")} aria-label={`Silence alert ${alert.id}`}>
          Silence
        </button>
      </p>
    )}
  </li>
);

const Acknowledge = ({ alert, onClose, onDone }: { alert: Alert; onClose: () => void; onDone: () => void }) => {
  const [note, setNote] = useState("");
  return (
    <Confirmation
      title={`Acknowledge ${alert.name}?`}
      action="Acknowledge"
      onClose={onClose}
      onConfirm={async () => {
        await change(`alerts/${alert.id}/acknowledge`, { note });
        onDone();
      }}
    >
      <p>{alert.summary}</p>
      <p>Nobody else is notified of it while it lasts, unless it becomes more severe. Your name is recorded.</p>
      <label>
        What you do about it
        <input value={note} maxLength={1000} onChange={(event) => setNote(event.target.value)} />
      </label>
    </Confirmation>
  );
};

const Silence = ({ alert, onClose, onDone }: { alert: Alert; onClose: () => void; onDone: () => void }) => {
  const [comment, setComment] = useState("");
  const [seconds, setSeconds] = useState(3600);
  return (
    <Confirmation
      title={`Silence ${alert.name}?`}
      action="Silence"
      onClose={onClose}
      onConfirm={async () => {
        await change(`alerts/${alert.id}/silence`, { seconds, comment });
        onDone();
      }}
    >
      <p>Alerts with this name and these labels notify nobody until the silence ends. What still fires then is notified.</p>
      <label>
        For
        <select value={seconds} onChange={(event) => setSeconds(Number(event.target.value))}>
          {TIMES.map(([name, value]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <Reason value={comment} onChange={setComment} />
    </Confirmation>
  );
};

const EndSilence = ({ number, onClose, onDone }: { number: number; onClose: () => void; onDone: () => void }) => (
  <Confirmation
    title={`End silence ${number}?`}
    action="End it"
    onClose={onClose}
    onConfirm={async () => {
      await change(`silences/${number}/end`, {});
      onDone();
    }}
  >
    <p>What it covers and still fires is notified at once.</p>
  </Confirmation>
);

export const Alerts = () => {
  const polled = usePolled<Data>("alerts");
  const [asked, setAsked] = useState<Question>();
  const [ending, setEnding] = useState<number>();
  return (
    <Loaded polled={polled}>
      {(data) => {
        const open = data.alerts.filter((one) => !one.resolved_at);
        const resolved = data.alerts.filter((one) => one.resolved_at);
        return (
          <>
            <Card title="Open alerts">
              {open.length ? (
                <ul className="af-problems">
                  {open.map((one) => (
                    <AlertItem
                      key={one.id}
                      alert={one}
                      {...(data.may_operate ? { onAsk: (what) => setAsked({ alert: one, what }) } : {})}
                    />
                  ))}
                </ul>
              ) : (
                <Empty title="No alert is open">
                  <p>To try the way from an alert to a person:</p>
                  <Command text="airfleet alerts test RECEIVER" />
                </Empty>
              )}
              {open.length > 0 && !data.may_operate && (
                <p className="af-muted">Acknowledging and silencing need the right Pools (edit), which the roles Op and Admin have.</p>
              )}
            </Card>
            {data.silences.length > 0 && (
              <Card title="Silences">
                <ul className="af-problems">
                  {data.silences.map((one) => (
                    <li key={one.id} className="af-problem af-edge-plain">
                      <p className="af-labels">
                        {Object.entries(one.what).map(([key, text]) => (
                          <code key={key}>
                            {key}={text}
                          </code>
                        ))}
                      </p>
                      <p className="af-muted">
                        no. {one.id}, by {one.actor}, until {new Date(one.ends_at).toLocaleString()} {one.comment}
                      </p>
                      {data.may_operate && (
                        <button
                          type="button"
                          className="af-button"
                          onClick={() => setEnding(one.id)}
                          aria-label={`End silence ${one.id}`}
                        >
                          End
                        </button>
                      )}
                    </li>
                  ))}
                </ul>
              </Card>
            )}
            {resolved.length > 0 && (
              <Card title="Resolved in the last day">
                <ul className="af-problems">
                  {resolved.map((one) => (
                    <AlertItem key={one.id} alert={one} />
                  ))}
                </ul>
              </Card>
            )}
            {asked?.what === "acknowledge" && (
              <Acknowledge alert={asked.alert} onClose={() => setAsked(undefined)} onDone={polled.reload} />
            )}
            {asked?.what === "silence" && (
              <Silence alert={asked.alert} onClose={() => setAsked(undefined)} onDone={polled.reload} />
            )}
            {ending !== undefined && (
              <EndSilence number={ending} onClose={() => setEnding(undefined)} onDone={polled.reload} />
            )}
          </>
        );
      }}
    </Loaded>
  );
};
