package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	datastore "github.com/datastore/datastore-grpc/client/go"
	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// benchQuery reads all entries below a key, and counts them.
func benchQuery(_ *driver, request *request) (any, error) {
	read := readByClient
	if request.Through == "stub" {
		read = readByStub
	}
	began := time.Now()
	entries, err := read(request.Address, request.Key)
	return object{"entries": fmt.Sprint(entries), "seconds": time.Since(began).Seconds()}, err
}

func readByClient(address string, key datastore.Key) (entries int, err error) {
	client, err := datastore.Connect(address)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, err := range client.Query(background, datastore.NewQuery(key).Recursive()).All() {
		if err != nil {
			return entries, err
		}
		entries++
	}
	return entries, nil
}

func readByStub(address string, key datastore.Key) (entries int, err error) {
	connection, err := plainConnection(address)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	query := &pb.Query{Key: &pb.Key{Text: string(key)}, Scope: pb.QueryScope_QUERY_SCOPE_RECURSIVE}
	stream, err := pb.NewDatastoreServiceClient(connection).Query(background, &pb.QueryRequest{Query: query})
	if err != nil {
		return 0, err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries += len(response.GetEntries())
	}
}

func plainConnection(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// benchGet makes calls of one key, so many at once.
func benchGet(_ *driver, request *request) (any, error) {
	get, end, err := getter(request)
	if err != nil {
		return nil, err
	}
	calls := make(chan struct{}, request.Calls)
	for range request.Calls {
		calls <- struct{}{}
	}
	close(calls)
	if err := get(); err != nil {
		return nil, err
	}
	failures := make(chan error, request.InFlight)
	began := time.Now()
	var callers sync.WaitGroup
	for range request.InFlight {
		callers.Go(func() {
			for range calls {
				if err := get(); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	callers.Wait()
	took := time.Since(began).Seconds()
	close(failures)
	return object{"seconds": took}, errors.Join(<-failures, end())
}

// getter returns a function that makes one call, and one that closes its connection.
func getter(request *request) (get, end func() error, err error) {
	if request.Through == "stub" {
		connection, err := plainConnection(request.Address)
		if err != nil {
			return nil, nil, err
		}
		stub := pb.NewDatastoreServiceClient(connection)
		return func() error {
			_, err := stub.Get(background, &pb.GetRequest{Key: &pb.Key{Text: string(request.Key)}})
			return err
		}, connection.Close, nil
	}
	client, err := datastore.Connect(request.Address)
	if err != nil {
		return nil, nil, err
	}
	return func() error {
		_, err := client.Get(background, request.Key)
		return err
	}, client.Close, nil
}

// memory returns the size of this process.
func memory(*driver, *request) (any, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, unsupported("the size of the process is only known on Linux")
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); err == nil {
			return object{"rss_bytes": fmt.Sprint(kilobytes << 10)}, nil
		}
	}
	return nil, unsupported("the size of the process is not known")
}
