package main

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

// request is every request: the names that an operation does not have are zero.
type request struct {
	ID json.RawMessage `json:"id"`
	Op string          `json:"op"`

	Client int `json:"client"`
	Cursor int `json:"cursor"`
	Watch  int `json:"watch"`
	Count  int `json:"count"`

	Text       string   `json:"text"`
	A          string   `json:"a"`
	B          string   `json:"b"`
	Value      notation `json:"value"`
	Wire       string   `json:"wire"`
	Status     string   `json:"status"`
	Descending bool     `json:"descending"`

	Addresses      []string `json:"addresses"`
	TLS            bool     `json:"tls"`
	CA             string   `json:"ca"`
	Cert           string   `json:"cert"`
	KeyFile        string   `json:"key_file"`
	Token          string   `json:"token"`
	TimeoutMS      *int64   `json:"timeout_ms"`
	QueryTimeoutMS *int64   `json:"query_timeout_ms"`
	Retry          *bool    `json:"retry"`
	RetryWrites    bool     `json:"retry_writes"`

	Key         datastore.Key     `json:"key"`
	Keys        []datastore.Key   `json:"keys"`
	Metadata    bool              `json:"metadata"`
	Condition   *condition        `json:"condition"`
	Expiry      *expiry           `json:"expiry"`
	Changes     []json.RawMessage `json:"changes"`
	Create      bool              `json:"create"`
	ReturnValue bool              `json:"return_value"`
	Add         []string          `json:"add"`
	Writes      []write           `json:"writes"`
	Atomic      bool              `json:"atomic"`

	Query        queryRequest  `json:"query"`
	AllowPartial bool          `json:"allow_partial"`
	Explain      bool          `json:"explain"`
	PageSize     int32         `json:"page_size"`
	PageToken    *string       `json:"page_token"`
	LastEntry    *entry        `json:"last_entry"`
	Aggregations []aggregation `json:"aggregations"`
	GroupBy      []string      `json:"group_by"`
	Orders       []string      `json:"orders"`
	Limit        *int64        `json:"limit"`
	Initial      bool          `json:"initial"`

	ValueBytes int    `json:"value_bytes"`
	Prefix     string `json:"prefix"`
	Address    string `json:"address"`
	Through    string `json:"through"`
	InFlight   int    `json:"in_flight"`
	Calls      int    `json:"calls"`
}

type queryRequest struct {
	Key        datastore.Key     `json:"key"`
	Recursive  bool              `json:"recursive"`
	KeysOnly   bool              `json:"keys_only"`
	Limit      *int64            `json:"limit"`
	Offset     int64             `json:"offset"`
	Filters    []json.RawMessage `json:"filters"`
	Orders     []string          `json:"orders"`
	Fields     []string          `json:"fields"`
	Metadata   bool              `json:"metadata"`
	StartAfter *entry            `json:"start_after"`
}

// build returns the query of a request.
func (r *request) build() (datastore.Query, error) {
	asked := r.Query
	query := datastore.NewQuery(asked.Key).Offset(asked.Offset).Order(asked.Orders...).Fields(asked.Fields...)
	for _, option := range []struct {
		isSet bool
		apply func(datastore.Query) datastore.Query
	}{
		{asked.Recursive, datastore.Query.Recursive},
		{asked.KeysOnly, datastore.Query.KeysOnly},
		{asked.Metadata, datastore.Query.WithMetadata},
		{r.AllowPartial, datastore.Query.AllowPartial},
		{r.Explain, datastore.Query.Explain},
	} {
		if option.isSet {
			query = option.apply(query)
		}
	}
	if asked.Limit != nil {
		query = query.Limit(*asked.Limit)
	}
	for _, part := range asked.Filters {
		filter, err := filterOf(part)
		if err != nil {
			return query, err
		}
		query = query.Where(filter)
	}
	if asked.StartAfter != nil {
		after, err := asked.StartAfter.plain()
		if err != nil {
			return query, err
		}
		query = query.StartAfter(after)
	}
	return query, nil
}

// filterOf returns the filter that is written as ["country", "=", VALUE] or {"and": [...]}.
func filterOf(data json.RawMessage) (datastore.Filter, error) {
	var joined struct {
		And, Or *[]json.RawMessage
		Not     json.RawMessage
	}
	if json.Unmarshal(data, &joined) == nil {
		switch {
		case joined.Not != nil:
			filter, err := filterOf(joined.Not)
			return datastore.Not(filter), err
		case joined.And != nil:
			filters, err := filtersOf(*joined.And)
			return datastore.And(filters...), err
		default:
			filters, err := filtersOf(*joined.Or)
			return datastore.Or(filters...), err
		}
	}
	var field string
	var operator datastore.Operator
	var value notation
	if err := json.Unmarshal(data, &[]any{&field, &operator, &value}); err != nil {
		return datastore.Filter{}, unsupported(err.Error())
	}
	wanted, err := value.plain()
	return datastore.Compare(field, operator, wanted), err
}

func filtersOf(parts []json.RawMessage) ([]datastore.Filter, error) {
	var filters []datastore.Filter
	for _, part := range parts {
		filter, err := filterOf(part)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

type entry struct {
	Key      datastore.Key `json:"key"`
	Value    notation      `json:"value"`
	Metadata *metadata     `json:"metadata"`
}

type metadata struct {
	Version    string `json:"version"`
	CreateTime string `json:"create_time"`
	UpdateTime string `json:"update_time"`
	ExpireTime string `json:"expire_time"`
}

func (e *entry) plain() (datastore.Entry, error) {
	made := datastore.Entry{Key: e.Key}
	var err error
	if e.Value != nil {
		made.Value, err = e.Value.plain()
	}
	if e.Metadata != nil {
		made.Metadata = &datastore.Metadata{
			Version:    integer(e.Metadata.Version),
			CreateTime: time.UnixMicro(integer(e.Metadata.CreateTime)).UTC(),
			UpdateTime: time.UnixMicro(integer(e.Metadata.UpdateTime)).UTC(),
		}
		if e.Metadata.ExpireTime != "" {
			made.Metadata.ExpireTime = time.UnixMicro(integer(e.Metadata.ExpireTime)).UTC()
		}
	}
	return made, err
}

type write struct {
	Put    *entry         `json:"put"`
	Delete *datastore.Key `json:"delete"`
	Touch  *datastore.Key `json:"touch"`
	Patch  *struct {
		Key     datastore.Key     `json:"key"`
		Changes []json.RawMessage `json:"changes"`
		Create  bool              `json:"create"`
	} `json:"patch"`
	Condition *condition `json:"condition"`
	Expiry    *expiry    `json:"expiry"`
}

func (w *write) build() (datastore.Write, error) {
	options := terms(w.Condition, w.Expiry)
	switch {
	case w.Put != nil:
		entry, err := w.Put.plain()
		return datastore.Put(entry.Key, entry.Value, options...), err
	case w.Delete != nil:
		return datastore.Delete(*w.Delete, options...), nil
	case w.Touch != nil:
		return datastore.Touch(*w.Touch, options...), nil
	}
	changes, err := changesOf(w.Patch.Changes)
	if w.Patch.Create {
		options = append(options, datastore.CreateIfAbsent())
	}
	return datastore.Patch(w.Patch.Key, changes, options...), err
}

type condition struct {
	Exists  *bool   `json:"exists"`
	Version *string `json:"version"`
}

type expiry struct {
	InMS *string `json:"in_ms"`
	At   string  `json:"at"`
}

// terms returns the options of a write.
func terms(condition *condition, expiry *expiry) []datastore.WriteOption {
	var options []datastore.WriteOption
	if condition != nil {
		switch {
		case condition.Version != nil:
			options = append(options, datastore.IfVersion(integer(*condition.Version)))
		case *condition.Exists:
			options = append(options, datastore.IfExists())
		default:
			options = append(options, datastore.IfAbsent())
		}
	}
	if expiry != nil {
		if expiry.InMS != nil {
			options = append(options, datastore.ExpiresIn(time.Duration(integer(*expiry.InMS))*time.Millisecond))
		} else {
			options = append(options, datastore.ExpiresAt(time.UnixMicro(integer(expiry.At))))
		}
	}
	return options
}

// changesOf returns the changes that are written as ["set", "a.b", VALUE].
func changesOf(written []json.RawMessage) ([]datastore.FieldChange, error) {
	var changes []datastore.FieldChange
	for _, data := range written {
		var kind, path string
		var value notation
		if err := json.Unmarshal(data, &[]any{&kind, &path, &value}); err != nil {
			return nil, unsupported(err.Error())
		}
		var operand any
		var err error
		if value != nil {
			operand, err = value.plain()
		}
		if err != nil {
			return nil, err
		}
		switch kind {
		case "set":
			changes = append(changes, datastore.Set(path, operand))
		case "increment":
			changes = append(changes, datastore.Increment(path, operand))
		case "remove":
			changes = append(changes, datastore.Remove(path))
		default:
			elements, isList := operand.([]any)
			if !isList {
				return nil, unsupported("Append takes elements, not a list of them")
			}
			changes = append(changes, datastore.Append(path, elements...))
		}
	}
	return changes, nil
}

type aggregation struct {
	Function string `json:"function"`
	Field    string `json:"field"`
	As       string `json:"as"`
}

func (a *aggregation) build() datastore.Aggregation {
	switch a.Function {
	case "SUM":
		return datastore.Sum(a.Field, a.As)
	case "AVG":
		return datastore.Avg(a.Field, a.As)
	case "MIN":
		return datastore.Min(a.Field, a.As)
	case "MAX":
		return datastore.Max(a.Field, a.As)
	}
	if a.Field != "" {
		return datastore.CountOf(a.Field, a.As)
	}
	return datastore.Count(a.As)
}

// integer returns a decimal of a request.
func integer(text string) int64 {
	value, _ := strconv.ParseInt(text, 10, 64)
	return value
}

func unhexed(text string) []byte {
	data, _ := hex.DecodeString(text)
	return data
}
