package datastore

import "time"

var started = time.Now()
