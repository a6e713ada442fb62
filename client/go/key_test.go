package datastore

import (
	"errors"
	"strings"
	"testing"
)

func TestKeysAreMadeCanonical(t *testing.T) {
	type vector struct {
		Given any
		Text  string
		Path  string
	}
	for _, vector := range vectors[[]vector](t, "keys") {
		given, isText := vector.Given.(string)
		if !isText {
			continue
		}
		key, err := ParseKey(given)
		if err != nil || string(key) != vector.Text || string(key.Collection()) != vector.Path {
			t.Errorf("%q is %q of %q, %v; want %q of %q", given, key, key.Collection(), err, vector.Text, vector.Path)
		}
		if Key(given).String() != vector.Text || Key(given).Hash() != key.Hash() {
			t.Errorf("%q has another text or hash than %q", given, key)
		}
	}
}

func TestKeysAreOrderedAndHashed(t *testing.T) {
	keys := vectors[[]Key](t, "order")
	for place, key := range keys {
		for other := range keys {
			want := min(max(place-other, -1), 1)
			if got := key.Compare(keys[other]); got != want {
				t.Errorf("%s compared with %s is %d, want %d", key, keys[other], got, want)
			}
		}
	}
	type hashed struct {
		Key  Key
		Hash uint64
	}
	for _, vector := range vectors[[]hashed](t, "hashes") {
		if got := vector.Key.Hash(); got != vector.Hash {
			t.Errorf("the hash of %s is %d, want %d", vector.Key, got, vector.Hash)
		}
	}
	type placed struct {
		Keys []struct {
			Key            Key
			Slot           int
			CollectionSlot int `json:"collection_slot"`
		}
	}
	for _, vector := range vectors[placed](t, "slots").Keys {
		if key := vector.Key; key.Slot() != vector.Slot || key.Collection().Slot() != vector.CollectionSlot {
			t.Errorf("%s is in slots %d and %d, want %d and %d", key, key.Slot(), key.Collection().Slot(), vector.Slot,
				vector.CollectionSlot)
		}
	}
}

func TestKeysThatCannotBeSentAreRefused(t *testing.T) {
	for _, text := range []string{
		"/a\x00", "/\x1f", "/\x7f", "/\u0080", "/\u009f", "/a\xff", strings.Repeat("k", 1024),
		"/" + strings.Repeat("é", 512),
	} {
		if key, err := ParseKey(text); !errors.Is(err, ErrInvalidKey) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %q, %v; want ErrInvalidKey", text, key, err)
		}
	}
	for _, text := range []string{"/\u00a0", "/ ", "/\u007e", "/" + strings.Repeat("k", 1023), "/\ufffd"} {
		if key, err := ParseKey(text); err != nil || string(key) != text {
			t.Errorf("%q is %q, %v", text, key, err)
		}
	}
}
