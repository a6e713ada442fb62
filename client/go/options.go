package datastore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultPort is the port of servers whose address has none.
	DefaultPort = 7420
	// DefaultTimeout is the time limit of a call whose context has no deadline.
	DefaultTimeout = 10 * time.Second
	// DefaultStreamTimeout is the same for queries and aggregates, from the first to the last entry.
	DefaultStreamTimeout = time.Hour
)

// Option is a setting of a Client.
type Option func(*options)

type options struct {
	timeout       time.Duration
	streamTimeout time.Duration
	tls           *tls.Config
	token         func(context.Context) (string, error)
	// isOneToken says that all calls have the same token.
	isOneToken    bool
	insecureToken bool
	// fault is what is wrong with a setting.
	fault       error
	coalesce    bool
	retry       bool
	retryWrites bool
}

// WithTimeout limits each call whose context has no deadline, with all its attempts and waits; DefaultTimeout if it
// is not given.
func WithTimeout(timeout time.Duration) Option {
	return func(o *options) { o.timeout = timeout }
}

// WithStreamTimeout limits each query and each aggregate whose context has no deadline, from its first to its last
// entry; DefaultStreamTimeout if it is not given. A watch has no time limit.
func WithStreamTimeout(timeout time.Duration) Option {
	return func(o *options) { o.streamTimeout = timeout }
}

// WithTLS encrypts connections, and says whom to trust and as whom to appear; see LoadTLS for files in PEM. The zero
// Config trusts the authorities of the system.
func WithTLS(config *tls.Config) Option {
	return func(o *options) { o.tls = config }
}

// WithToken sends a token with each call, which tells the server who calls. Without TLS it is only sent to this
// machine.
func WithToken(token string) Option {
	return func(o *options) {
		o.token, o.isOneToken = func(context.Context) (string, error) { return token, nil }, true
		if !tokenForm.MatchString(token) {
			o.fault = configError("the token has characters that tokens do not have")
		}
	}
}

// WithTokenSource is WithToken for tokens that are renewed, or differ by caller: the function returns that of a call,
// whose context it gets.
func WithTokenSource(token func(context.Context) (string, error)) Option {
	return func(o *options) { o.token, o.isOneToken = token, false }
}

// WithInsecureToken lets the token be sent to other machines without TLS, where others could read it.
func WithInsecureToken() Option {
	return func(o *options) { o.insecureToken = true }
}

// WithCoalescing sends gets that are made while others are in flight together in one message, up to 256: several
// times as many a second if many goroutines make them. Each keeps its own result, error and deadline. Those of one
// message are answered together. With WithTokenSource each get is sent alone, because its token may be its caller's
// own.
func WithCoalescing() Option {
	return func(o *options) { o.coalesce = true }
}

// WithoutRetries reports every failure at once. Streams that are cut off are continued all the same.
func WithoutRetries() Option {
	return func(o *options) { o.retry = false }
}

// WithRetryWrites also repeats writes whose outcome is unknown, e.g. because their answer was lost. Each write has an
// id, by which its store makes it only once. ErrRequestForgotten means that the store does not remember so far back
// whether it was made.
func WithRetryWrites() Option {
	return func(o *options) { o.retryWrites = true }
}

// coalesces reports whether gets may share a message, which has one token.
func (o *options) coalesces() bool { return o.coalesce && (o.token == nil || o.isOneToken) }

// LoadTLS reads certificate files in PEM for WithTLS: ca has the authorities that are trusted to sign servers, by
// default those of the system; cert and key, if the server demands a certificate, the client's. Each may be "".
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, configError("%v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, configError("%s: not certificates in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, configError("%s: a certificate and its private key must be given together", cert+key)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, configError("%s and %s: %v", cert, key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

var (
	hostForm = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(?::([0-9]{1,5}))?$`)
	digits   = regexp.MustCompile(`^[0-9]+$`)
)

// parseAddresses returns the servers in a list, as HOST:PORT, and whether they are reached over TLS.
func parseAddresses(list string, o *options) ([]string, error) {
	var addresses []string
	for entry := range strings.SplitSeq(list, ",") {
		address, encrypted := strings.CutPrefix(strings.TrimSpace(entry), "grpcs://")
		address, plain := strings.CutPrefix(address, "grpc://")
		if encrypted && o.tls == nil {
			o.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if plain && o.tls != nil {
			return nil, configError("%s does not use TLS, and other settings ask for it: write grpcs://%s", entry, address)
		}
		match := hostForm.FindStringSubmatch(strings.TrimSuffix(address, "/"))
		port := DefaultPort
		if match != nil && match[2] != "" {
			port, _ = strconv.Atoi(match[2])
		}
		if match == nil || port < 1 || port > 65535 || digits.MatchString(match[1]) {
			return nil, configError("%q is not the address of a server; write HOST:PORT, e.g. 127.0.0.1:%d", entry,
				DefaultPort)
		}
		addresses = append(addresses, fmt.Sprintf("%s:%d", match[1], port))
	}
	return addresses, nil
}

// check says what is wrong with the settings for these servers.
func (o *options) check(addresses []string) error {
	if o.timeout <= 0 || o.streamTimeout <= 0 {
		return &Error{Reason: ErrInvalid, Message: "a timeout must be above 0", Field: "timeout"}
	}
	if o.retryWrites && !o.retry {
		return &Error{Reason: ErrInvalid, Message: "WithRetryWrites excludes WithoutRetries", Field: "retry_writes"}
	}
	if o.token == nil || o.fault != nil {
		return o.fault
	}
	for _, address := range addresses {
		if o.tls == nil && !o.insecureToken && !isLoopback(address) {
			return configError("the token would be sent to %s without encryption: use TLS, or WithInsecureToken if the"+
				" network is safe", address)
		}
	}
	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback())
}

func configError(format string, arguments ...any) error {
	return newError(ErrConfig, format, arguments...)
}
