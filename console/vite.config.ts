// Builds one file that Airflow's UI imports. React and React Router are those of Airflow's UI, which sets them as globals.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** The digest of what the build is made from. tests/unit/test_console_build.py computes it in the same way. */
const digest = (): string => {
  const names = readdirSync("src", { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name));
  const hash = createHash("sha256");
  for (const name of ["package-lock.json", "tsconfig.json", "vite.config.ts", ...names.sort()]) {
    hash.update(`${name}\0`).update(readFileSync(name)).update("\0");
  }
  return hash.digest("hex");
};

const sign: Plugin = {
  name: "sign",
  // After the minifier, which drops comments.
  generateBundle: (_, bundle) => {
    for (const one of Object.values(bundle)) {
      if (one.type === "chunk") {
        one.code = `/* airfleet console, built from sources ${digest()}. Change console/, and run make console. */\n${one.code}`;
      }
    }
  },
};

export default defineConfig({
  plugins: [sign],
  define: { "process.env.NODE_ENV": '"production"' },
  build: {
    outDir: process.env["CONSOLE_OUT"] ?? "../provider/src/airfleet_provider/console/static",
    emptyOutDir: false,
    target: "es2022",
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "airfleetConsole", fileName: () => "fleet.js" },
    rollupOptions: {
      external: ["react", "react/jsx-runtime", "react-router-dom"],
      output: {
        globals: {
          react: "React",
          "react/jsx-runtime": "ReactJSXRuntime",
          "react-router-dom": "ReactRouterDOM",
        },
      },
    },
  },
});
