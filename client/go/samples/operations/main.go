// Operations is the twelve operations of docs/clients.md: make operations ADDRESS=HOST:PORT.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

var (
	samedan   = map[string]any{"name": "Samedan", "code": "LSZS", "country": "CH", "elevation": 5600}
	zurich    = map[string]any{"name": "Zurich", "code": "LSZH", "country": "CH", "elevation": 1416}
	frankfurt = map[string]any{"name": "Frankfurt", "code": "EDDF", "country": "DE", "elevation": 364}
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// run prints a line for each operation.
func run(ctx context.Context, address string) error {
	// [connect]
	client, err := datastore.Connect(address)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	// [/connect]
	for _, part := range []func(context.Context, *datastore.Client) error{
		put, get, remove, batchWrite, batchGet, query, condition, patch, expiry, aggregate, watch,
	} {
		if err := part(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, client *datastore.Client) error {
	// [put]
	samedan := map[string]any{"name": "Samedan", "code": "LSZS", "country": "CH", "elevation": 5600}
	if _, err := client.Put(ctx, "/Airport:LSZS", samedan); err != nil {
		return err
	}
	// [/put]
	fmt.Println("put", "/Airport:LSZS")
	return nil
}

func get(ctx context.Context, client *datastore.Client) error {
	// [get]
	airport, err := client.Get(ctx, "/Airport:LSZS") // nil if there is none
	// [/get]
	if err == nil {
		fmt.Println("get", airport.(map[string]any)["name"])
	}
	return err
}

func remove(ctx context.Context, client *datastore.Client) error {
	if _, err := client.Put(ctx, "/Airport:XXXX", true); err != nil {
		return err
	}
	// [delete]
	if err := client.Delete(ctx, "/Airport:XXXX"); err != nil {
		return err
	}
	exists, err := client.Contains(ctx, "/Airport:XXXX")
	// [/delete]
	fmt.Println("delete", exists)
	return err
}

func batchWrite(ctx context.Context, client *datastore.Client) error {
	// [batch_write]
	results, err := client.BatchWrite(ctx, []datastore.Write{
		datastore.Put("/Airport:LSZS", samedan),
		datastore.Put("/Airport:LSZH", zurich),
		datastore.Put("/Airport:EDDF", frankfurt),
	})
	if err != nil {
		return err // that of the first write that failed; each result has its own
	}
	// [/batch_write]
	fmt.Println("batch_write", len(results))
	return nil
}

func batchGet(ctx context.Context, client *datastore.Client) error {
	// [batch_get]
	results, err := client.BatchGet(ctx, []datastore.Key{"/Airport:LSZH", "/Airport:EDDF", "/Airport:XXXX"})
	if err != nil {
		return err
	}
	// [/batch_get]
	fmt.Print("batch_get")
	for _, result := range results {
		if airport, found := result.Value.(map[string]any); found {
			fmt.Print(" ", airport["code"])
		} else {
			fmt.Print(" -")
		}
	}
	fmt.Println()
	return nil
}

func query(ctx context.Context, client *datastore.Client) error {
	// [query]
	low := datastore.NewQuery("/Airport").Filter("elevation", "<", 5000).Order("-elevation").Limit(2)
	var keys []datastore.Key
	for entry, err := range client.Query(ctx, low).All() {
		if err != nil {
			return err
		}
		keys = append(keys, entry.Key)
	}
	// [/query]
	fmt.Println("query", keys[0], keys[1])
	return nil
}

func condition(ctx context.Context, client *datastore.Client) error {
	// [condition]
	_, failure := client.Put(ctx, "/Airport:LSZS", samedan, datastore.IfAbsent())
	if errors.Is(failure, datastore.ErrConditionFailed) { // it is there already
		entry, err := client.GetEntry(ctx, "/Airport:LSZS")
		if err != nil || entry == nil {
			return err
		}
		if _, err := client.Put(ctx, entry.Key, entry.Value, datastore.IfVersion(entry.Metadata.Version)); err != nil {
			return err
		}
	}
	// [/condition]
	var failed *datastore.Error
	if errors.As(failure, &failed) {
		fmt.Println("condition", failed.Reason)
	}
	return nil
}

func patch(ctx context.Context, client *datastore.Client) error {
	// [patch]
	higher := []datastore.FieldChange{datastore.Increment("elevation", 1)}
	entry, err := client.Patch(ctx, "/Airport:LSZS", higher, datastore.ReturnValue())
	// [/patch]
	if err == nil {
		fmt.Println("patch", entry.Value.(map[string]any)["elevation"])
	}
	return err
}

func expiry(ctx context.Context, client *datastore.Client) error {
	// [expiry]
	user := map[string]any{"user": "ada"}
	metadata, err := client.Put(ctx, "/Session:1", user, datastore.ExpiresIn(time.Hour))
	// [/expiry]
	if err == nil {
		fmt.Println("expiry", !metadata.ExpireTime.IsZero())
	}
	return err
}

func aggregate(ctx context.Context, client *datastore.Client) error {
	// [aggregate]
	byCountry := datastore.NewAggregate(datastore.Count("airports")).GroupBy("country")
	groups, err := client.Aggregate(ctx, datastore.NewQuery("/Airport"), byCountry)
	if err != nil {
		return err
	}
	// [/aggregate]
	fmt.Print("aggregate")
	for _, group := range groups {
		fmt.Printf(" %s=%d", group.Group[0], group.Values[0])
	}
	fmt.Println()
	return nil
}

func watch(ctx context.Context, client *datastore.Client) error {
	// [watch]
	watch, err := client.Watch(ctx, datastore.NewQuery("/Airport"))
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "/Airport:LSZS", samedan); err != nil {
		return err
	}
	for batch, err := range watch.All() {
		if err != nil {
			return err
		}
		for _, change := range batch.Changes {
			fmt.Println("watch", change.Kind, change.Key)
		}
		break // ends the watch
	}
	// [/watch]
	return nil
}
