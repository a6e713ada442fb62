package datastore

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// server answers as a test says. What servers answer is tested by the suite, with real ones; these tests are about
// what only a caller in Go sees.
type server struct {
	pb.UnimplementedDatastoreServiceServer
	get   func(context.Context, *pb.GetRequest) (*pb.GetResponse, error)
	put   func(context.Context, *pb.PutRequest) (*pb.PutResponse, error)
	query func(*pb.QueryRequest, grpc.ServerStreamingServer[pb.QueryResponse]) error
	watch func(*pb.WatchRequest, grpc.ServerStreamingServer[pb.WatchResponse]) error

	batchGet  func(context.Context, *pb.BatchGetRequest) (*pb.BatchGetResponse, error)
	aggregate func(*pb.AggregateRequest, grpc.ServerStreamingServer[pb.AggregateResponse]) error
}

func (s *server) Get(ctx context.Context, request *pb.GetRequest) (*pb.GetResponse, error) {
	return s.get(ctx, request)
}

func (s *server) Put(ctx context.Context, request *pb.PutRequest) (*pb.PutResponse, error) {
	return s.put(ctx, request)
}

func (s *server) Query(request *pb.QueryRequest, stream grpc.ServerStreamingServer[pb.QueryResponse]) error {
	return s.query(request, stream)
}

func (s *server) Watch(request *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	return s.watch(request, stream)
}

func (s *server) BatchGet(ctx context.Context, request *pb.BatchGetRequest) (*pb.BatchGetResponse, error) {
	return s.batchGet(ctx, request)
}

func (s *server) Aggregate(
	request *pb.AggregateRequest, stream grpc.ServerStreamingServer[pb.AggregateResponse],
) error {
	return s.aggregate(request, stream)
}

// answering returns a client of a server that answers every call with these bytes and, unless it is "", this status.
func answering(t *testing.T, body []byte, code string) *Client {
	t.Helper()
	serving := httptest.NewUnstartedServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "application/grpc")
		_, _ = writer.Write(body)
		if code != "" {
			writer.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
		}
	}))
	serving.Config.Protocols = new(http.Protocols)
	serving.Config.Protocols.SetUnencryptedHTTP2(true)
	serving.Start()
	t.Cleanup(serving.Close)
	client, err := Connect(serving.Listener.Addr().String(), WithoutRetries())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// connected returns a client of a server, which ends with the test.
func connected(t *testing.T, s *server, settings ...Option) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := grpc.NewServer()
	pb.RegisterDatastoreServiceServer(serving, s)
	served := make(chan error, 1)
	go func() { served <- serving.Serve(listener) }()
	client, err := Connect(listener.Addr().String(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		serving.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// waits answers a get once the caller has gone.
func waits(arrived chan<- struct{}) func(context.Context, *pb.GetRequest) (*pb.GetResponse, error) {
	return func(ctx context.Context, _ *pb.GetRequest) (*pb.GetResponse, error) {
		arrived <- struct{}{}
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// counting sends entries until the reader has gone, and says so.
func counting(gone chan<- struct{}) func(*pb.QueryRequest, grpc.ServerStreamingServer[pb.QueryResponse]) error {
	return func(_ *pb.QueryRequest, stream grpc.ServerStreamingServer[pb.QueryResponse]) error {
		for {
			entry := &pb.Entry{Key: &pb.Key{Text: "/a"}, Value: int64Value(1)}
			if err := stream.Send(&pb.QueryResponse{Entries: []*pb.Entry{entry}, ResumeToken: []byte("t")}); err != nil {
				gone <- struct{}{}
				return status.Error(codes.Canceled, "the reader has gone")
			}
		}
	}
}

// refusal returns the status of a server's error.
func refusal(reason Reason, code codes.Code) error {
	info := &errdetails.ErrorInfo{Reason: string(reason), Domain: domain}
	return must(status.New(code, "as the test says").WithDetails(info)).Err()
}
