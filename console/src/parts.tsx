// The parts that pages are made of.
import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import { Link } from "react-router-dom";

import type { Refusal } from "./api";
import type { Polled } from "./usePolled";
import { duration, moment, secondsSince, sentence } from "./words";

export type Tone = "good" | "bad" | "warn" | "info" | "plain";

export const Badge = ({ tone = "plain", children }: { tone?: Tone; children: ReactNode }) => (
  <span className={`af-badge af-${tone}`}>{children}</span>
);

export const Card = ({
  title,
  more,
  children,
}: {
  title: string;
  more?: ReactNode;
  children: ReactNode;
}) => {
  const id = useId();
  return (
    <section className="af-card" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {more}
      </header>
      {children}
    </section>
  );
};

export const Figure = ({ name, value, tone = "plain" }: { name: string; value: ReactNode; tone?: Tone }) => (
  <div className={`af-figure af-text-${tone}`}>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

/** A moment as its age; the pointer shows the moment itself. */
export const Ago = ({ at, suffix = " ago" }: { at: string | null; suffix?: string }) =>
  at === null ? (
    <>–</>
  ) : (
    <time dateTime={at} title={moment(at)}>
      {duration(secondsSince(at))}
      {suffix}
    </time>
  );

export const Age = ({ seconds }: { seconds: number | null }) => <>{seconds === null ? "–" : duration(seconds)}</>;

/** A command to type, with a button that copies it. */
export const Command = ({ text }: { text: string }) => {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = window.setTimeout(() => setCopied(false), 2000);
    return () => window.clearTimeout(timer);
  }, [isCopied]);
  // Browsers let a page copy only where it came over HTTPS or from this machine.
  const canCopy = window.isSecureContext && "clipboard" in navigator;
  return (
    <span className="af-command">
      <code>{text}</code>
      {canCopy && (
        <button
          type="button"
          aria-label={`Copy the command ${text}`}
          onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
        >
          {isCopied ? "copied" : "copy"}
        </button>
      )}
    </span>
  );
};

/** How full something is, as a bar with words for those who do not see it. */
export const Meter = ({
  used,
  total,
  label,
  isFullWell = false,
}: {
  used: number;
  total: number;
  label: string;
  /** Whether it is well when it is full. */
  isFullWell?: boolean;
}) => {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const tone = isFullWell || share < 0.8 ? "good" : share >= 1 ? "bad" : "warn";
  return (
    <div className="af-meter" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={total} aria-valuenow={Math.min(used, total)}>
      <div className={`af-fill af-${tone}`} style={{ width: `${share * 100}%` }} />
    </div>
  );
};

export interface Column<T> {
  name: string;
  /** Numbers are at the right. */
  isNumber?: boolean;
  show: (row: T) => ReactNode;
}

export const Table = <T,>({
  label,
  columns,
  rows,
  keyOf,
}: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string | number;
}) => (
  // A wide table scrolls in its own frame, which the keyboard reaches.
  <div className="af-scroll" tabIndex={0} role="region" aria-label={label}>
    <table>
      <thead>
        <tr>
          {columns.map((one) => (
            <th key={one.name} scope="col" className={one.isNumber ? "af-number" : undefined}>
              {one.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map((one) => (
              <td key={one.name} className={one.isNumber ? "af-number" : undefined}>
                {one.show(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  </div>
);

/** A table in a card of its own, or what it means that there is no row. */
export const TableCard = <T,>({
  title,
  columns,
  rows,
  keyOf,
  empty,
  more,
}: {
  title: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string | number;
  empty: string;
  more?: ReactNode;
}) => (
  <Card title={title} more={more}>
    {rows.length ? <Table label={title} rows={rows} keyOf={keyOf} columns={columns} /> : <Empty title={empty} />}
  </Card>
);

/** Nothing to show, and what that means. */
export const Empty = ({ title, children }: { title: string; children?: ReactNode }) => (
  <div className="af-empty">
    <p className="af-empty-title">{title}</p>
    {children && <div>{children}</div>}
  </div>
);

const Failed = ({ refusal, reload }: { refusal: Refusal; reload: () => void }) => {
  const [title, hint] =
    refusal.status === 401
      ? ["You are not logged in", "Log in to Airflow again, and come back to this page."]
      : refusal.status === 403
        ? ["You may not see this page", "Ask whoever administers this Airflow for the right that is named above."]
        : refusal.status === 404
          ? ["Nothing of this is here", ""]
          : refusal.status === 503
            ? ["The platform does not answer", "This page asks again by itself. On a host of the platform, type:"]
            : ["This page could not be read", "This page asks again by itself. On a host of the platform, type:"];
  const isOutage = ![401, 403, 404].includes(refusal.status);
  return (
    <div className="af-empty" role="alert">
      <p className="af-empty-title">{title}</p>
      <p>{sentence(refusal.message)}</p>
      {hint && <p>{hint}</p>}
      {isOutage && <Command text="airfleet status" />}
      {isOutage && (
        <p>
          <button type="button" className="af-button" onClick={reload}>
            Ask again
          </button>
        </p>
      )}
    </div>
  );
};

/** What was read, or why it was not. After a failure the last data stays, with a line above it. */
export const Loaded = <T,>({ polled, children }: { polled: Polled<T>; children: (data: T) => ReactNode }) => {
  const { data, refusal, at, reload } = polled;
  if (data === undefined) {
    if (refusal) return <Failed refusal={refusal} reload={reload} />;
    return (
      <div className="af-loading" role="status" aria-label="Loading">
        <div />
        <div />
        <div />
      </div>
    );
  }
  return (
    <>
      {refusal && (
        <p className="af-stale" role="alert">
          These figures are {duration((Date.now() - (at ?? Date.now())) / 1000)} old: {refusal.message}
        </p>
      )}
      {children(data)}
    </>
  );
};

export const DagLink = ({ dag, run, children }: { dag: string; run?: string | null; children?: ReactNode }) => (
  <Link className="af-link" to={`/dags/${encodeURIComponent(dag)}${run ? `/runs/${encodeURIComponent(run)}` : ""}`}>
    {children ?? dag}
  </Link>
);

/** A question before a change. Escape and "Cancel" close it; what it needs to be told is in `children`. */
export const Confirmation = ({
  title,
  action,
  onConfirm,
  onClose,
  children,
}: {
  title: string;
  action: string;
  onConfirm: () => Promise<void>;
  onClose: () => void;
  children: ReactNode;
}) => {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const id = useId();
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const confirm = async () => {
    setBusy(true);
    setProblem("");
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(sentence(error instanceof Error ? error.message : String(error)));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} className="af-dialog" aria-labelledby={id} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void confirm();
        }}
      >
        <h2 id={id}>{title}</h2>
        {children}
        {problem && (
          <p className="af-stale" role="alert">
            {problem}
          </p>
        )}
        <footer>
          <button type="button" className="af-button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="af-button af-primary" disabled={isBusy}>
            {isBusy ? "Working…" : action}
          </button>
        </footer>
      </form>
    </dialog>
  );
};

/** Why a change is made: a question inside a `Confirmation`. */
export const Reason = ({ value, onChange }: { value: string; onChange: (value: string) => void }) => (
  <label>
    Why
    <input value={value} maxLength={1000} required onChange={(event) => onChange(event.target.value)} />
  </label>
);
