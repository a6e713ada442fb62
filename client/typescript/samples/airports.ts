// Imports airports, prints some of them, and watches one change: node airports.js HOST:PORT airports.csv

import { readFileSync } from "node:fs";
import { connect, Query, Write } from "datastore-grpc-client";

const [address = "127.0.0.1:7420", file = "airports.csv"] = process.argv.slice(2);
const client = connect(address);

/** The cells of a line of CSV, in which a quoted cell may contain commas and doubled quotes. */
function cells(line: string): string[] {
  const found = line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g);
  return Array.from(found, ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "");
}

/** The value of an airport: whole elevations are integers, which bigints are; coordinates are doubles. */
function airport(names: string[], line: string) {
  const row = Object.fromEntries(cells(line).map((cell, at) => [names[at] ?? "", cell]));
  const { icao = "", name = "", elevation = "0", lat, lon } = row;
  return {
    ...row,
    icao,
    name,
    elevation: elevation.includes(".") ? Number(elevation) : BigInt(elevation),
    lat: Number(lat),
    lon: Number(lon),
  };
}

const [header = "", ...lines] = readFileSync(file, "utf8").trimEnd().split(/\r?\n/);
const names = cells(header);
const airports = lines.map((line) => airport(names, line));

// The client sends them in as many messages as needed.
const results = await client.batchWrite(airports.map((value) => Write.put(`/Airport:${value.icao}`, value)));
for (const { error } of results) if (error) throw error;
console.log(`imported ${results.length} airports`);

const highest = new Query("/Airport").filter("country", "=", "CH").order("-elevation").limit(5);
for await (const { key, value } of client.query(highest)) {
  const { name, elevation } = value as { name: string; elevation: bigint };
  console.log(`${key.text} ${name}, ${elevation} ft`);
}

const watch = await client.watch("/Airport");
await client.put("/Airport:LSZS", { ...airports.find(({ icao }) => icao === "LSZS"), name: "Engadin Airport" });
for await (const { kind, key, value } of watch) {
  const { name } = value as { name: string };
  console.log(`${kind} ${key.text}: ${name}`);
  break;
}

client.close();
