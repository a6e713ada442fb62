// Real servers for the tests: a node of the checkout, and Envoy in front of it.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../../../../.venv/bin/", import.meta.url));
const ENVOY_CONFIG = fileURLToPath(new URL("../../test/envoy.yaml", import.meta.url));

/** A process of a test. */
export interface Running {
  readonly address: string;
  stop(): Promise<void>;
}

/** Starts a node with its store in memory, on a free port. */
export async function startNode(...options: readonly string[]): Promise<Running> {
  const node = spawn(join(BIN, "datastore"), ["serve", "memory:", "--listen", "127.0.0.1:0", ...options], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  for await (const line of createInterface({ input: node.stdout })) {
    const address = /grpc:\/\/(\S+)/.exec(line)?.[1];
    if (address !== undefined) return { address, stop: () => stopped(node) };
  }
  throw new Error("the node did not start");
}

/** Starts Envoy, with the configuration that the README shows, on a free port in front of a server. */
export async function startEnvoy(envoy: string, server: string): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), "envoy-"));
  const [config, adminFile] = [join(folder, "envoy.yaml"), join(folder, "admin")];
  const port = server.slice(server.lastIndexOf(":") + 1);
  const text = readFileSync(ENVOY_CONFIG, "utf8");
  writeFileSync(config, text.replace("port_value: 8080", "port_value: 0").replace("7420", port));
  const options = ["--config-path", config, "--admin-address-path", adminFile, "--use-dynamic-base-id"];
  const process = spawn(envoy, [...options, "--log-level", "error", "--concurrency", "1"], { stdio: "ignore" });
  const stop = async (): Promise<void> => {
    await stopped(process);
    rmSync(folder, { recursive: true });
  };
  try {
    const admin = await written(adminFile, process);
    const answer = await fetch(`http://${admin}/listeners?format=json`);
    const { listener_statuses: listeners } = (await answer.json()) as { listener_statuses: Listener[] };
    const { address, port_value } = listeners[0]!.local_address.socket_address;
    return { address: `http://${address}:${port_value}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Listener {
  readonly local_address: { readonly socket_address: { readonly address: string; readonly port_value: number } };
}

/** What a process writes into a file, once it has. */
async function written(file: string, process: ChildProcess): Promise<string> {
  const folder = join(file, "..");
  const gone = once(process, "exit").then(() => "exit");
  const watcher = watch(folder);
  try {
    while (!existsSync(file) || readFileSync(file, "utf8") === "") {
      if ((await Promise.race([once(watcher, "change"), gone])) === "exit") throw new Error("Envoy did not start");
    }
    return readFileSync(file, "utf8").trim();
  } finally {
    watcher.close();
  }
}

async function stopped(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  process.kill();
  await once(process, "exit");
}

/** The first of these programs that there is, in the checkout's environment or on the path. */
export function program(...names: readonly string[]): string | undefined {
  const folders = [BIN, ...(process.env.PATH ?? "").split(delimiter)];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
