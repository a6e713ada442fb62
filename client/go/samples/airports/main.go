// Airports imports a table of airports, queries it, and watches it: make sample ADDRESS=HOST:PORT CSV=airports.csv.
//
// The table is the airports.csv of the Python package airportsdata.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: airports HOST:PORT airports.csv")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, table string) (err error) {
	client, err := datastore.Connect(address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := load(ctx, client, table); err != nil {
		return err
	}
	if err := printHighest(ctx, client); err != nil {
		return err
	}
	return watchOne(ctx, client)
}

// load writes the airports of a table, a thousand at a time.
func load(ctx context.Context, client *datastore.Client, table string) error {
	file, err := os.Open(table)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	rows := csv.NewReader(file)
	names, err := rows.Read()
	if err != nil {
		return err
	}
	count := 0
	for more := true; more; {
		var writes []datastore.Write
		if writes, more, err = batch(rows, names); err != nil {
			return err
		}
		if _, err := client.BatchWrite(ctx, writes); err != nil {
			return err
		}
		count += len(writes)
	}
	fmt.Println("imported", count, "airports")
	return nil
}

// batch returns the writes of the next rows, and whether there may be more.
func batch(rows *csv.Reader, names []string) (writes []datastore.Write, more bool, err error) {
	for len(writes) < 1000 {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return writes, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		airport := map[string]any{}
		for column, name := range names {
			airport[name] = row[column]
			switch number, err := strconv.ParseFloat(row[column], 64); {
			case err != nil:
			case name == "elevation":
				airport[name] = int64(number)
			case name == "lat" || name == "lon":
				airport[name] = number
			}
		}
		writes = append(writes, datastore.Put(datastore.Key("/Airport:"+airport["icao"].(string)), airport))
	}
	return writes, true, nil
}

// printHighest prints the highest airports of Switzerland as they are found.
func printHighest(ctx context.Context, client *datastore.Client) error {
	query := datastore.NewQuery("/Airport").Filter("country", "=", "CH").Order("-elevation").Limit(5)
	cursor := client.Query(ctx, query)
	for entry, err := range cursor.All() {
		if err != nil {
			return err
		}
		airport := entry.Value.(map[string]any)
		fmt.Println(entry.Key, airport["elevation"], airport["name"])
	}
	fmt.Println("found", cursor.Summary().Entries)
	return nil
}

// watchOne prints a change that it makes itself.
func watchOne(ctx context.Context, client *datastore.Client) error {
	watch, err := client.Watch(ctx, datastore.NewQuery("/Airport").Filter("country", "=", "CH"))
	if err != nil {
		return err
	}
	defer watch.Close()
	_, err = client.Patch(ctx, "/Airport:LSZS", []datastore.FieldChange{datastore.Set("visited", true)})
	if err != nil {
		return err
	}
	for changes, err := range watch.All() {
		if err != nil {
			return err
		}
		for _, change := range changes.Changes {
			fmt.Println("changed", change.Key)
			return nil
		}
	}
	return nil
}
