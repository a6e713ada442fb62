// The driver answers the requests of the suite of the clients (tests/clients/README.md) through the client's public
// API. It decides nothing.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

func main() {
	driver := newDriver()
	defer driver.end()
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	responses := json.NewEncoder(os.Stdout)
	responses.SetEscapeHTML(false)
	for {
		line, err := requests.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := responses.Encode(driver.answer(line)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// object is a JSON object of a response.
type object map[string]any

// unsupported is why a request cannot be expressed in Go.
type unsupported string

func (u unsupported) Error() string { return string(u) }

// answer returns the response to a request.
func (d *driver) answer(line []byte) object {
	var request request
	if err := json.Unmarshal(line, &request); err != nil {
		return object{"id": request.ID, "unsupported": err.Error()}
	}
	operation, known := operations[request.Op]
	if !known {
		return object{"id": request.ID, "unsupported": "there is no operation " + request.Op}
	}
	result, err := operation(d, &request)
	var reason unsupported
	switch {
	case errors.As(err, &reason):
		return object{"id": request.ID, "unsupported": string(reason)}
	case err != nil:
		return object{"id": request.ID, "error": reported(err)}
	case result == nil:
		result = object{}
	}
	return object{"id": request.ID, "result": result}
}

// reported returns an error as responses have it.
func reported(err error) object {
	var failure *datastore.Error
	if !errors.As(err, &failure) {
		return object{"reason": "CANCELED", "message": err.Error(), "details": object{}}
	}
	details := object{}
	for name, text := range map[string]string{
		"shard": failure.Shard, "field": failure.Field, "path": failure.Path, "limit": failure.Limit,
		"owner": failure.Owner, "right": failure.Right, "incident": failure.Incident, "request_id": failure.RequestID,
	} {
		if text != "" {
			details[name] = text
		}
	}
	for name, number := range map[string]int64{
		"maximum": failure.Maximum, "version": failure.Version, "index": int64(failure.Index), "epoch": failure.Epoch,
	} {
		if number != 0 {
			details[name] = fmt.Sprint(number)
		}
	}
	if failure.Retryable {
		details["retry_after_ms"] = fmt.Sprint(failure.RetryAfter.Milliseconds())
	}
	if failure.Reason == datastore.ErrBatchAborted {
		details["index"] = fmt.Sprint(failure.Index)
	}
	return object{"reason": string(failure.Reason), "message": failure.Error(), "details": details}
}
