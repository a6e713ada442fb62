package datastore

import (
	"context"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// Page is one page of the results of a query.
type Page struct {
	// Entries may be fewer than were asked for, or none, even if this is not the last page.
	Entries []Entry
	// Next continues after this page; nil if it is the last.
	Next *PageToken
	// Unreachable is the shards that are missing, if the query allows partial results.
	Unreachable []ShardSummary
}

// PageToken continues the results of a query after a page, at any time and with any client.
type PageToken struct {
	Token string
	// LastEntry is the last entry of the page, if the server needs it to continue.
	LastEntry *Entry
}

// ListEntries returns a page of the results of a query: at most size entries, by default 100, at most 1,000. The
// token is that of the page before, from the same query; nil for the first page. It is for readers that cannot keep a
// stream open.
func (c *Client) ListEntries(ctx context.Context, query Query, size int32, token *PageToken) (*Page, error) {
	message, err := query.encode()
	if err != nil {
		return nil, err
	}
	if size < 0 {
		return nil, invalidQuery("page_size", "a page size must not be negative, got %d", size)
	}
	request := &pb.ListEntriesRequest{Query: message, PageSize: size, AllowPartial: query.allowPartial}
	if token != nil {
		request.PageToken = token.Token
		if token.LastEntry != nil {
			if request.LastEntry, err = token.LastEntry.encode(); err != nil {
				return nil, err
			}
		}
	}
	response, err := read(ctx, c.connection, c.connection.calls.ListEntries, request)
	if err != nil {
		return nil, err
	}
	return query.page(response)
}

func (q Query) page(response *pb.ListEntriesResponse) (*Page, error) {
	messages := response.GetEntries()
	page := &Page{Entries: make([]Entry, len(messages)), Unreachable: fromShards(response.GetUnreachable())}
	for place, message := range messages {
		isWhole := response.GetNeedsLastEntry() && place == len(messages)-1
		entry, err := q.result(message, isWhole)
		if err != nil {
			return nil, err
		}
		page.Entries[place] = entry
	}
	if response.GetNextPageToken() == "" {
		return page, nil
	}
	page.Next = &PageToken{Token: response.GetNextPageToken()}
	if response.GetNeedsLastEntry() && len(messages) > 0 {
		whole, err := fromEntry(messages[len(messages)-1])
		if err != nil {
			return nil, err
		}
		page.Next.LastEntry = &whole
	}
	return page, nil
}
