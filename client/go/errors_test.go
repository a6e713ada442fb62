package datastore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"testing"
	"time"

	rpc "google.golang.org/genproto/googleapis/rpc/status"
)

func TestStatusesAreReadAsErrors(t *testing.T) {
	type vector struct {
		Reason  Reason
		Message string
		Facts   map[string]any
		Status  string
	}
	for _, vector := range vectors[[]vector](t, "wire_errors") {
		failure := StatusError(unmarshaled(t, vector.Status, new(rpc.Status)))
		if failure.Reason != vector.Reason || failure.Message != vector.Message {
			t.Errorf("%v: want %s: %s", failure, vector.Reason, vector.Message)
		}
		facts := map[string]string{
			"shard": failure.Shard, "field": failure.Field, "path": failure.Path, "limit": failure.Limit,
			"maximum": fmt.Sprint(failure.Maximum), "version": fmt.Sprint(failure.Version),
			"index": fmt.Sprint(failure.Index), "owner": failure.Owner, "epoch": fmt.Sprint(failure.Epoch),
			"right": failure.Right, "incident": failure.Incident, "request_id": failure.RequestID,
		}
		for name, fact := range vector.Facts {
			if name == "retry_after_s" {
				seconds := must(strconv.ParseFloat(fmt.Sprint(fact), 64))
				want := time.Duration(math.Round(seconds * float64(time.Second)))
				if !failure.Retryable || failure.RetryAfter != want {
					t.Errorf("%v may be repeated after %v, want %v", failure, failure.RetryAfter, want)
				}
			} else if facts[name] != fmt.Sprint(fact) {
				t.Errorf("%v: %s is %q, want %v", failure, name, facts[name], fact)
			}
		}
	}
}

func TestErrorsAreTestedByReason(t *testing.T) {
	err := fmt.Errorf("importing: %w", &Error{Reason: ErrInvalidValue, Path: "value['a']", cause: context.Canceled})
	for _, target := range []error{ErrInvalidValue, ErrInvalid, context.Canceled} {
		if !errors.Is(err, target) {
			t.Errorf("%v is not %v", err, target)
		}
	}
	for _, target := range []error{ErrInvalidKey, ErrUnavailable, Reason("")} {
		if errors.Is(err, target) {
			t.Errorf("%v is %q", err, target)
		}
	}
	var failure *Error
	if !errors.As(err, &failure) || failure.Path != "value['a']" {
		t.Errorf("%v has no path", err)
	}
	if !errors.Is(&Error{Reason: ErrOverloaded}, ErrUnavailable) {
		t.Error("an overloaded server is not unavailable")
	}
}

func TestEveryReasonOfTheTableHasAVector(t *testing.T) {
	type vector struct{ Reason Reason }
	seen := map[Reason]bool{}
	for _, vector := range vectors[[]vector](t, "wire_errors") {
		seen[vector.Reason] = true
	}
	known := map[Reason]bool{}
	for reason := range broader {
		known[reason] = true
	}
	if !reflect.DeepEqual(known, seen) {
		t.Errorf("the reasons are %v, want %v", known, seen)
	}
}
