//go:build tools

// Package engines names the server that stands for MongoDB in the tests: FerretDB with its SQLite backend.
// `make engines` builds it.
package engines

import _ "github.com/FerretDB/FerretDB/cmd/ferretdb"
