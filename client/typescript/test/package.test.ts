// The package as programs get it: by the commands of docs/clients.md, and as the file that is published.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const CLIENT = "client/typescript";
/** What of the checkout the package is made of; the libraries are taken along so that little is downloaded. */
const SOURCES = ["gen", "src", "driver", "samples", "test", "node_modules"].concat([
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "README.md",
]);
const IMPORT = 'import { Key } from "datastore-grpc-client"; console.log(new Key("/a").text);';

suite("the package", () => {
  const program = mkdtempSync(join(tmpdir(), "program-"));
  const checkout = join(program, "datastore");

  before(() => {
    mkdirSync(join(checkout, CLIENT), { recursive: true });
    const files = ["LICENSE", "protos/google/LICENSE", ...SOURCES.map((name) => join(CLIENT, name))];
    for (const name of files) {
      cpSync(join(ROOT, name), join(checkout, name), { recursive: true, verbatimSymlinks: true });
    }
    writeFileSync(join(program, "package.json"), '{"type": "module"}');
  });

  after(() => {
    rmSync(program, { recursive: true });
  });

  function run(command: string, folder = program): string {
    const env = {
      ...process.env,
      npm_config_prefer_offline: "true",
      npm_config_audit: "false",
      npm_config_fund: "false",
    };
    return execFileSync(command, {
      cwd: folder,
      env,
      shell: true,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  test("the commands of the page install what can be imported", () => {
    const page = readFileSync(join(ROOT, "docs/clients.md"), "utf8");
    const [, row = ""] = /^\| TypeScript \| (`npm .*) \|$/m.exec(page) ?? [];
    const commands = [...row.matchAll(/`([^`]+)`/g)].map(([, command]) => command!);
    assert.equal(commands.length, 2);
    for (const command of commands) run(command);
    writeFileSync(join(program, "program.js"), IMPORT);
    assert.equal(run("node program.js"), "/a\n");
  });

  test("the file has the licences, and no map of what it has not", () => {
    const file = run("npm pack --silent", join(checkout, CLIENT)).trim();
    const packed = run(`tar -tf ${file}`, join(checkout, CLIENT)).trim().split("\n");
    for (const name of ["LICENSE", "LICENSE-Apache-2.0", "README.md", "dist/src/index.js", "dist/src/index.d.ts"]) {
      assert.ok(packed.includes(`package/${name}`), name);
    }
    assert.deepEqual(
      packed.filter((name) => name.endsWith(".map")),
      [],
    );
  });
});
