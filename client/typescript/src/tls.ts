// The files of TLS, read and checked before anything connects.

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { config } from "./addresses.js";

/** A file in PEM: its name, or its contents as bytes or as text, which has a `-----BEGIN`. */
export type Pem = string | URL | Uint8Array;

/** What TLS needs. */
export interface TlsOptions {
  /** The authorities to trust; by default those of Node.js. */
  readonly ca?: Pem | undefined;
  /** The certificate to show to a server that demands one; it needs its `key`. */
  readonly cert?: Pem | undefined;
  readonly key?: Pem | undefined;
}

/** The settings of connections. Fails with CONFIG, which names the file, if one cannot be used. */
export function secureContext({ ca, cert, key }: TlsOptions): SecureContextOptions {
  if ((cert === undefined) !== (key === undefined)) {
    throw config(`tls.${cert === undefined ? "key" : "cert"} needs tls.${cert === undefined ? "cert" : "key"} too`);
  }
  const context = {
    ...(ca !== undefined && { ca: contents("ca", ca) }),
    ...(cert !== undefined && { cert: contents("cert", cert) }),
    ...(key !== undefined && { key: contents("key", key) }),
  };
  try {
    createSecureContext({
      ...context,
      // An authority that cannot be read would be ignored.
      ...(context.ca && { ca: new X509Certificate(context.ca).toString() }),
    });
  } catch (error) {
    const files = [ca, cert, key].filter((pem) => pem !== undefined && !isContents(pem)).join(", ");
    throw config(`the certificates cannot be used: ${String(error)}${files && ` (${files})`}`);
  }
  return context;
}

function contents(name: string, pem: Pem): Buffer {
  if (isContents(pem)) return Buffer.from(pem);
  // It may be part of a key, which no message shows.
  if (String(pem).includes("\n")) throw config(`tls.${name} is neither the name of a file nor PEM`);
  try {
    return readFileSync(pem);
  } catch (error) {
    throw config(`tls.${name}, the file ${String(pem)}, cannot be read: ${String(error)}`);
  }
}

function isContents(pem: Pem): pem is string | Uint8Array {
  return pem instanceof Uint8Array || (typeof pem === "string" && pem.includes("-----BEGIN"));
}
