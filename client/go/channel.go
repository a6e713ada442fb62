package datastore

import (
	"context"
	"errors"
	"net"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	// messageBytes is the size of the largest message from a server.
	messageBytes = 4 << 20
	// streamWindow is how many bytes a server may send ahead of the reader of a stream. A message that the reader
	// waits for arrives whole all the same; without a fixed window gRPC lets it grow to megabytes.
	streamWindow = 64 << 10
	// connectionWindow is the same for all streams together.
	connectionWindow = 1 << 20
)

// dial returns a channel to the first of the servers that can be reached. It connects with the first call.
func dial(addresses []string, o options, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	servers := manual.NewBuilderWithScheme("datastore")
	state := resolver.State{}
	for _, address := range addresses {
		host, _, _ := net.SplitHostPort(address)
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address, ServerName: host})
	}
	servers.InitialState(state)
	transport := insecure.NewCredentials()
	if o.tls != nil {
		transport = credentials.NewTLS(o.tls)
	}
	settings := []grpc.DialOption{
		grpc.WithResolvers(servers),
		grpc.WithTransportCredentials(transport),
		// Proxies are for the web; calls, even those to this machine, would go through them.
		grpc.WithNoProxy(),
		// Retries are decided here, with what the errors say.
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytes)),
		// Servers allow a ping every 10 s. A connection that died silently is noticed within 20 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 12 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A server that is back is found within a second.
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
			},
			// The limit for a server that accepts connections but does not respond, e.g. a suspended process.
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if o.token != nil {
		settings = append(settings, grpc.WithPerRPCCredentials(bearer(o.token)))
	}
	return grpc.NewClient("datastore:///"+addresses[0], append(settings, more...)...)
}

// tokenForm is what a token looks like.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// bearer sends a token with each call.
type bearer func(context.Context) (string, error)

// GetRequestMetadata returns the metadata of a call.
func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b(ctx)
	if err != nil {
		return nil, err
	}
	if !tokenForm.MatchString(token) {
		return nil, errors.New("the token has characters that tokens do not have")
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity returns false: the settings were checked when the client connected.
func (b bearer) RequireTransportSecurity() bool { return false }
