// The etcd server, which the benchmarks compare with. `go install` refuses etcd itself, whose module has
// replacements.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
