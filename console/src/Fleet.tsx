// The pages below /plugin/fleet, with their navigation.
import type { ReactNode } from "react";
import { NavLink, useParams } from "react-router-dom";

import { Empty } from "./parts";
import { Alerts } from "./pages/Alerts";
import { Overview } from "./pages/Overview";
import { Pools } from "./pages/Pools";
import { Releases } from "./pages/Releases";
import { Slas } from "./pages/Slas";

const BASE = "/plugin/fleet";
const PAGES: { path: string; name: string; show: () => ReactNode }[] = [
  { path: "", name: "Overview", show: () => <Overview /> },
  { path: "pools", name: "Pools and queues", show: () => <Pools /> },
  { path: "releases", name: "Releases", show: () => <Releases /> },
  { path: "slas", name: "SLAs", show: () => <Slas /> },
  { path: "alerts", name: "Alerts", show: () => <Alerts /> },
];

export const Fleet = () => {
  const path = (useParams()["*"] ?? "").replace(/\/$/, "");
  const page = PAGES.find((one) => one.path === path);
  return (
    <>
      <h1>Fleet</h1>
      <nav aria-label="Fleet pages">
        {PAGES.map((one) => (
          <NavLink key={one.path} end to={one.path ? `${BASE}/${one.path}` : BASE}>
            {one.name}
          </NavLink>
        ))}
      </nav>
      <div className="af-page">
        {page ? page.show() : <Empty title={`There is no Fleet page “${path}”`}>Choose one above.</Empty>}
      </div>
    </>
  );
};
