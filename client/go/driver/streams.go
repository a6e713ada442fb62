package main

import (
	"encoding/hex"
	"fmt"
	"iter"
	"math"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

// reading is a query that is being read.
type reading struct {
	cursor *datastore.Cursor
	pull   func() (datastore.Entry, error, bool)
	stop   func()
	// err ended it, after the entries that the last request was given.
	err error
}

func (r *reading) Close() error {
	r.stop()
	return nil
}

func (d *driver) open(request *request) (*reading, error) {
	query, err := request.build()
	if err != nil {
		return nil, err
	}
	cursor := d.client(request).Query(background, query)
	pull, stop := iter.Pull2(cursor.All())
	return &reading{cursor: cursor, pull: pull, stop: stop}, nil
}

// take returns the next entries, and the summary if these were the last.
func (r *reading) take(count int) (any, error) {
	entries := []object{}
	for len(entries) < count {
		if r.err != nil {
			if len(entries) == 0 {
				return nil, r.err
			}
			return object{"entries": entries}, nil
		}
		entry, err, more := r.pull()
		if !more {
			return object{"entries": entries, "summary": writtenSummary(r.cursor.Summary())}, nil
		}
		if r.err = err; err == nil {
			entries = append(entries, writtenEntry(entry))
		}
	}
	return object{"entries": entries}, nil
}

func writtenSummary(summary *datastore.Summary) object {
	unreachable := summary.Unreachable()
	if unreachable == nil {
		unreachable = []string{}
	}
	shown := object{"reason": summary.Reason, "entries": fmt.Sprint(summary.Entries), "unreachable": unreachable}
	if summary.Explanation != nil {
		shown["explained"] = summary.Explanation.GetKind()
	}
	return shown
}

func (d *driver) openQuery(request *request) (any, error) {
	reading, err := d.open(request)
	if err != nil {
		return nil, err
	}
	return object{"cursor": d.hold(reading)}, nil
}

func (d *driver) next(request *request) (any, error) {
	return d.held[request.Cursor].(*reading).take(request.Count)
}

func (d *driver) read(request *request) (any, error) {
	reading, err := d.open(request)
	if err != nil {
		return nil, err
	}
	defer reading.stop()
	result, err := reading.take(math.MaxInt)
	if reading.err != nil {
		return nil, reading.err
	}
	return result, err
}

func (d *driver) leave(request *request) (any, error) {
	number := max(request.Cursor, request.Watch)
	held := d.held[number]
	d.held[number] = nil
	return nil, held.Close()
}

// watching is a watch that is being read.
type watching struct {
	watch *datastore.Watch
	pull  func() (*datastore.Changes, error, bool)
	stop  func()
	// left is the changes that have come and not been asked for.
	left     []datastore.Change
	token    []byte
	caughtUp bool
}

func (w *watching) Close() error {
	w.stop()
	w.watch.Close()
	return nil
}

func (d *driver) openWatch(request *request) (any, error) {
	query, err := request.build()
	if err != nil {
		return nil, err
	}
	var options []datastore.WatchOption
	if request.Initial {
		options = append(options, datastore.WatchInitial())
	}
	if request.Token != "" {
		options = append(options, datastore.WatchFrom(unhexed(request.Token)))
	}
	watch, err := d.client(request).Watch(background, query, options...)
	if err != nil {
		return nil, err
	}
	pull, stop := iter.Pull2(watch.All())
	return object{"watch": d.hold(&watching{watch: watch, pull: pull, stop: stop})}, nil
}

func (d *driver) changes(request *request) (any, error) {
	watching := d.held[request.Watch].(*watching)
	for len(watching.left) < request.Count || request.Count == 0 && !watching.caughtUp {
		changes, err, _ := watching.pull()
		if err != nil {
			return nil, err
		}
		watching.left = append(watching.left, changes.Changes...)
		watching.token, watching.caughtUp = changes.Token, watching.caughtUp || changes.CaughtUp
	}
	given := []object{}
	for _, change := range watching.left[:request.Count] {
		entry := object{"key": change.Key, "metadata": object{"version": fmt.Sprint(change.Version)}}
		if change.Value != nil {
			entry["value"] = written(change.Value)
		}
		given = append(given, object{"kind": change.Kind, "entry": entry})
	}
	watching.left = watching.left[request.Count:]
	return object{
		"changes": given, "token": hex.EncodeToString(watching.token), "caught_up": watching.caughtUp,
	}, nil
}
