//go:build !linux

package datastore

import "time"

// sinceBoot returns the time since the process started, by a clock that is never set back or forward.
func sinceBoot() time.Duration { return time.Since(started) }
