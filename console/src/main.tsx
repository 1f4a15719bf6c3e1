// Airflow's UI imports this file once, and finds the component of each react_app in globalThis by its name.
import type { ComponentType } from "react";

import { Fleet } from "./Fleet";
import { Trace } from "./pages/Trace";
import { Why, type Place } from "./pages/Why";
import style from "./style.css?inline";

const frame = (Inner: ComponentType<Place>): ComponentType<Place> => {
  const Framed = (place: Place) => (
    <div className="airfleet">
      <style>{style}</style>
      <Inner {...place} />
    </div>
  );
  return Framed;
};

// The names are those of `react_apps` in provider/src/airfleet_provider/api_server/plugin.py.
Reflect.set(globalThis, "Fleet", frame(Fleet));
Reflect.set(globalThis, "Why it waits", frame(Why));
Reflect.set(globalThis, "Trace", frame(Trace));
