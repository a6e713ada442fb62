package datastore

import (
	"errors"
	"fmt"
)

const (
	// batchItems is how many items of a batch a message has at most, and batchBytes how large it is; larger batches
	// are sent in parts.
	batchItems = 1000
	batchBytes = EntryBytes + 64<<10
)

// itemError returns the error of a batch of which an item failed.
func itemError(place int, err error) error { return fmt.Errorf("item %d: %w", place, err) }

// lowerItems returns how many items the server takes in a message, if it refused these for their number; otherwise 0.
func (c *Client) lowerItems(err error, items int) int {
	var failure *Error
	if !errors.As(err, &failure) || failure.Reason != ErrLimitExceeded || failure.Limit != "batch_items" ||
		failure.Maximum < 1 || failure.Maximum >= int64(items) {
		return 0
	}
	c.batchItems.Store(failure.Maximum)
	return int(failure.Maximum)
}

func (c *Client) checkCount(answered, asked int) error {
	if answered == asked {
		return nil
	}
	return newError(ErrCorruptData, "%s returned %d results for %d items", c.connection.server, answered, asked)
}
