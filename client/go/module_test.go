package datastore

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is a program of another module, as in the README.
const program = `package main

import (
	"fmt"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

func main() {
	fmt.Print(datastore.Key("Airport:LSZS"))
}
`

func TestAnotherModuleTakesTheClientFromACheckout(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = folder
		command.Stderr = os.Stderr
		output, err := command.Output()
		if err != nil {
			t.Fatalf("go %v: %v", arguments, err)
		}
		return string(output)
	}
	const module = "github.com/datastore/datastore-grpc/client/go"
	run("mod", "init", "example.com/airports")
	run("mod", "edit", "-require", module+"@v0.4.0", "-replace", module+"="+here)
	run("mod", "tidy")
	if got := run("run", "."); got != "/Airport:LSZS" {
		t.Errorf("the program printed %q", got)
	}
}
