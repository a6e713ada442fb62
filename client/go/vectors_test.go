package datastore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// vectors reads a file of golden vectors: facts that clients in all languages agree on.
func vectors[T any](t *testing.T, name string) T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "tests", "vectors", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var found T
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

// plain returns the value of a vector, which is in the notation of docs/cli.md.
func plain(t *testing.T, written any) any {
	t.Helper()
	switch written := written.(type) {
	case json.Number:
		if integer, err := written.Int64(); err == nil {
			return integer
		}
		return must(written.Float64())
	case []any:
		list := make([]any, len(written))
		for place, element := range written {
			list[place] = plain(t, element)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(written))
		for name, member := range written {
			switch text, _ := member.(string); name {
			case "$key":
				return Key(text)
			case "$bytes":
				return must(base64.StdEncoding.DecodeString(text))
			case "$datetime":
				return must(time.Parse(time.RFC3339Nano, text)).UTC()
			case "$float":
				return map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[text]
			default:
				members[name] = plain(t, member)
			}
		}
		return members
	}
	return written
}

// unmarshaled returns the message of bytes in hex.
func unmarshaled[Message proto.Message](t *testing.T, wire string, message Message) Message {
	t.Helper()
	if err := proto.Unmarshal(must(hex.DecodeString(wire)), message); err != nil {
		t.Fatal(err)
	}
	return message
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// equalMessages fails unless a message is as it should be.
func equalMessages(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
