package datastore

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"
)

// KeyBytes is the length of the longest key, in bytes of UTF-8.
const KeyBytes = 1024

// Slots is the number of slots that keys are distributed over in a cluster.
const Slots = 16384

// hashModulus makes hashes 60 bits long, which signed integers of every language can hold.
const hashModulus = 1 << 60

// Key names one entry: a path of parts, e.g. "/Airport:LSZS". The zero Key is the root.
//
// Any text can be converted to a Key; calls make keys canonical (one slash before each part, none elsewhere) and
// refuse invalid ones before anything is sent. Keys that the client returns are canonical, and so are those of
// ParseKey: they are equal if and only if they name the same entry, and ordered as their texts.
type Key string

// ParseKey returns the canonical key of a text. It fails with ErrInvalidKey if the text has control characters, is
// not valid UTF-8, or is longer than KeyBytes.
func ParseKey(text string) (Key, error) {
	key := Key(text).canonical()
	if err := key.check(); err != nil {
		return "", err
	}
	return key, nil
}

// String returns the canonical text.
func (k Key) String() string { return string(k.canonical()) }

// Collection returns the key of the collection that the key belongs to: that of "/a/T:x" is "/a/T", that of "/a/b" is
// "/a", and the root belongs to itself.
func (k Key) Collection() Key {
	text := string(k.canonical())
	parent, last := text[:strings.LastIndexByte(text, '/')], text[strings.LastIndexByte(text, '/')+1:]
	if colon := strings.IndexByte(last, ':'); colon > 0 {
		return Key(parent + "/" + last[:colon])
	}
	return Key(parent).canonical()
}

// Compare orders keys by their canonical text: it returns -1, 0 or 1.
func (k Key) Compare(other Key) int {
	return strings.Compare(string(k.canonical()), string(other.canonical()))
}

// Hash returns the hash that places the key: xxh3-64 of its canonical text, modulo 2^60.
func (k Key) Hash() uint64 { return xxh3.HashString(string(k.canonical())) % hashModulus }

// Slot returns the slot of the key, from 0 to Slots-1. In a cluster that is sharded by collection, an entry is in the
// slot of its key's Collection.
func (k Key) Slot() int { return int(k.Hash() % Slots) }

// canonical returns the key with one slash before each part. Most keys are canonical already.
func (k Key) canonical() Key {
	text := string(k)
	if text == "/" || strings.HasPrefix(text, "/") && !strings.HasSuffix(text, "/") && !strings.Contains(text, "//") {
		return k
	}
	var canonical strings.Builder
	for part := range strings.SplitSeq(text, "/") {
		if part != "" {
			canonical.WriteString("/" + part)
		}
	}
	if canonical.Len() == 0 {
		return "/"
	}
	return Key(canonical.String())
}

// check says what is wrong with a canonical key.
func (k Key) check() error {
	if len(k) > KeyBytes {
		return invalidKey("a key has at most %d bytes, and this one has %d: %.60q...", KeyBytes, len(k), string(k))
	}
	for at, character := range string(k) {
		switch {
		case character < 0x20, character >= 0x7f && character <= 0x9f:
			return invalidKey("%q has a control character at %d, which keys must not have", string(k), at)
		case character == utf8.RuneError && !utf8.ValidString(string(k)):
			return invalidKey("%q is not valid UTF-8", string(k))
		}
	}
	return nil
}

func invalidKey(format string, arguments ...any) error {
	return &Error{Reason: ErrInvalidKey, Message: fmt.Sprintf(format, arguments...), Field: "key"}
}
