// The files of TLS, read and checked before anything connects.

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { config } from "./addresses.js";

/** A file in PEM: its name, or its contents as bytes. */
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
    const files = [ca, cert, key].filter((pem) => typeof pem === "string" || pem instanceof URL).join(", ");
    throw config(`the certificates cannot be used: ${String(error)} (${files})`);
  }
  return context;
}

function contents(name: string, pem: Pem): Buffer {
  if (pem instanceof Uint8Array) return Buffer.from(pem);
  try {
    return readFileSync(pem);
  } catch (error) {
    throw config(`tls.${name}, the file ${String(pem)}, cannot be read: ${String(error)}`);
  }
}
