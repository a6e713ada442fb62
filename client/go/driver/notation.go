package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf16"

	datastore "github.com/datastore/datastore-grpc/client/go"
)

// notation is how requests and responses have values: an object of one name, the kind.
type notation map[string]json.RawMessage

// plain returns the value that is written so, in the types of Go.
func (n notation) plain() (any, error) {
	for kind, data := range n {
		switch kind {
		case "null":
			return nil, nil
		case "foreign":
			return complex(1, 2), nil
		case "bool":
			return string(data) == "true", nil
		case "list":
			return plainList(data)
		case "map":
			return plainMap(data)
		}
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return nil, unsupported(err.Error())
		}
		return plainText(kind, text)
	}
	return nil, unsupported("a value has a kind")
}

func plainText(kind, text string) (any, error) {
	switch kind {
	case "string":
		return text, nil
	case "key":
		return datastore.Key(text), nil
	case "bytes":
		return unhexed(text), nil
	case "double":
		bits, err := strconv.ParseUint(text, 16, 64)
		return math.Float64frombits(bits), err
	case "int64":
		if value, err := strconv.ParseInt(text, 10, 64); err == nil {
			return value, nil
		}
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			return value, nil
		}
		value, _ := new(big.Int).SetString(text, 10)
		return value, nil
	case "timestamp":
		return time.UnixMicro(integer(text)).UTC(), nil
	case "timestamp_ns":
		return time.Unix(0, integer(text)).UTC(), nil
	case "utf8":
		return string(unhexed(text)), nil
	case "utf16":
		return plainUTF16(unhexed(text))
	}
	return nil, unsupported("there is no kind " + kind)
}

func plainUTF16(data []byte) (any, error) {
	units := make([]uint16, len(data)/2)
	for place := range units {
		units[place] = uint16(data[2*place])<<8 | uint16(data[2*place+1])
	}
	text := utf16.Decode(units)
	for place, unit := range utf16.Encode(text) {
		if unit != units[place] {
			return nil, unsupported("a string is UTF-8, and has no surrogates")
		}
	}
	return string(text), nil
}

func plainList(data json.RawMessage) (any, error) {
	var written []notation
	if err := json.Unmarshal(data, &written); err != nil {
		return nil, unsupported(err.Error())
	}
	list := make([]any, len(written))
	for place, element := range written {
		var err error
		if list[place], err = element.plain(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func plainMap(data json.RawMessage) (any, error) {
	var written map[string]notation
	if err := json.Unmarshal(data, &written); err != nil {
		return nil, unsupported(err.Error())
	}
	members := make(map[string]any, len(written))
	for name, member := range written {
		var err error
		if members[name], err = member.plain(); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// written returns a value of the client as responses have it.
func written(value any) object {
	switch value := value.(type) {
	case nil:
		return object{"null": true}
	case bool:
		return object{"bool": value}
	case int64:
		return object{"int64": fmt.Sprint(value)}
	case float64:
		if math.IsNaN(value) {
			value = math.Float64frombits(0x7ff8 << 48)
		}
		return object{"double": fmt.Sprintf("%016x", math.Float64bits(value))}
	case string:
		return object{"string": value}
	case []byte:
		return object{"bytes": hex.EncodeToString(value)}
	case time.Time:
		return object{"timestamp": micros(value)}
	case datastore.Key:
		return object{"key": value}
	case []any:
		list := make([]object, len(value))
		for place, element := range value {
			list[place] = written(element)
		}
		return object{"list": list}
	case map[string]any:
		members := object{}
		for name, member := range value {
			members[name] = written(member)
		}
		return object{"map": members}
	}
	panic(fmt.Sprintf("%T is not a type of values", value))
}

func micros(instant time.Time) string { return fmt.Sprint(instant.UnixMicro()) }

func writtenMetadata(metadata *datastore.Metadata) object {
	shown := object{
		"version":     fmt.Sprint(metadata.Version),
		"create_time": micros(metadata.CreateTime),
		"update_time": micros(metadata.UpdateTime),
	}
	if !metadata.ExpireTime.IsZero() {
		shown["expire_time"] = micros(metadata.ExpireTime)
	}
	return shown
}

// found returns the value and the metadata that were read or stored; an empty object of an absent entry.
func found(value any, metadata *datastore.Metadata) object {
	shown := object{}
	if value != nil {
		shown["value"] = written(value)
	}
	if metadata != nil {
		shown["metadata"] = writtenMetadata(metadata)
	}
	return shown
}

func writtenEntry(entry datastore.Entry) object {
	shown := found(entry.Value, entry.Metadata)
	shown["key"] = entry.Key
	return shown
}
