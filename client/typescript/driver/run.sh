#!/bin/sh
# The driver, as build/clients/typescript/driver. `cd -L` keeps to the checkout that it was started in, whose build/ may
# be a link to that of another one.
root=$(cd -L "$(dirname "$0")/../../.." && pwd -L)
exec node "$root/client/typescript/dist/driver/main.js"
