package datastore

import (
	"context"
	"errors"
)

// Update changes an entry by a function: it reads the value (nil if it is absent), calls the function, and stores
// what that returns (nil deletes) if the entry was not written in between; otherwise it begins again. It returns the
// value that is stored; the entry expires as before. The function may be called several times; its error ends the
// update.
func (c *Client) Update(ctx context.Context, key Key, change func(value any) (any, error)) (any, error) {
	ctx, cancel := withTimeout(ctx, c.connection.options.timeout)
	defer cancel()
	var patience patience
	for {
		entry, err := c.GetEntry(ctx, key)
		if err != nil {
			return nil, err
		}
		terms := []WriteOption{IfAbsent()}
		var value any
		if entry != nil && entry.Metadata == nil {
			return nil, newError(ErrCorruptData, "%s returned an entry without its metadata", c.connection.server)
		}
		if entry != nil {
			terms[0], value = IfVersion(entry.Metadata.Version), entry.Value
			if expires := entry.Metadata.ExpireTime; !expires.IsZero() {
				terms = append(terms, ExpiresAt(expires))
			}
		}
		if value, err = change(value); err != nil {
			return nil, err
		}
		_, err = c.Put(ctx, key, value, terms...)
		if err == nil {
			return value, nil
		}
		if !errors.Is(err, ErrConditionFailed) {
			return nil, err
		}
		if err := c.connection.pause(ctx, &patience, err); err != nil {
			return nil, err
		}
	}
}
