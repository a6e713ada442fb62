package datastore

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestAddressesAreRead(t *testing.T) {
	for _, each := range []struct {
		given   string
		want    []string
		usesTLS bool
	}{
		{"a", []string{"a:7420"}, false},
		{"grpc://a:1/", []string{"a:1"}, false},
		{"grpcs://a", []string{"a:7420"}, true},
		{"127.0.0.1:1, [::1]:2", []string{"127.0.0.1:1", "[::1]:2"}, false},
	} {
		var o options
		got, err := parseAddresses(each.given, &o)
		if err != nil || !slices.Equal(got, each.want) || (o.tls != nil) != each.usesTLS {
			t.Errorf("%q is %v, %v, %v", each.given, got, o.tls, err)
		}
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	for _, each := range []struct {
		addresses string
		settings  []Option
		want      Reason
	}{
		{"", nil, ErrConfig},
		{"a:0", nil, ErrConfig},
		{"a:65536", nil, ErrConfig},
		{"17650", nil, ErrConfig},
		{"http://a", nil, ErrConfig},
		{"a/b", nil, ErrConfig},
		{"a,,b", nil, ErrConfig},
		{"grpc://a", []Option{WithTLS(&tls.Config{})}, ErrConfig},
		{"a", []Option{WithToken("secret")}, ErrConfig},
		{"localhost", []Option{WithToken("not one")}, ErrConfig},
		{"a", []Option{WithTimeout(0)}, ErrInvalid},
		{"a", []Option{WithStreamTimeout(-time.Second)}, ErrInvalid},
		{"a", []Option{WithoutRetries(), WithRetryWrites()}, ErrInvalid},
	} {
		if _, err := Connect(each.addresses, each.settings...); !errors.Is(err, each.want) {
			t.Errorf("%q: %v, want %s", each.addresses, err, each.want)
		}
	}
	for _, address := range []string{"localhost", "127.0.0.1:1", "[::1]:1", "grpcs://a"} {
		client, err := Connect(address, WithToken("secret"))
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
	}
}

func TestCertificatesThatCannotBeReadAreNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][3]string{{"absent.pem", "", ""}, {file, "", ""}, {"", file, ""}, {"", file, file}} {
		if _, err := LoadTLS(files[0], files[1], files[2]); !errors.Is(err, ErrConfig) {
			t.Errorf("%v: %v, want ErrConfig", files, err)
		}
	}
}
