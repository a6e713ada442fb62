package datastore

import (
	"fmt"

	pb "github.com/datastore/datastore-grpc/client/go/gen/datastorev1"
)

// FilterDepth is how deep And, Or and Not may be nested.
const FilterDepth = 16

// Operator compares a field with a value; docs/protocol.md says what each matches.
type Operator string

// The operators.
const (
	Equal          Operator = "="
	NotEqual       Operator = "!="
	Less           Operator = "<"
	LessOrEqual    Operator = "<="
	Greater        Operator = ">"
	GreaterOrEqual Operator = ">="
	In             Operator = "in"
	NotIn          Operator = "not_in"
	StartsWith     Operator = "starts_with"
	Contains       Operator = "contains"
	Exists         Operator = "exists"
)

var operators = map[Operator]pb.FieldFilter_Operator{
	Equal:          pb.FieldFilter_OPERATOR_EQUAL,
	NotEqual:       pb.FieldFilter_OPERATOR_NOT_EQUAL,
	Less:           pb.FieldFilter_OPERATOR_LESS_THAN,
	LessOrEqual:    pb.FieldFilter_OPERATOR_LESS_THAN_OR_EQUAL,
	Greater:        pb.FieldFilter_OPERATOR_GREATER_THAN,
	GreaterOrEqual: pb.FieldFilter_OPERATOR_GREATER_THAN_OR_EQUAL,
	In:             pb.FieldFilter_OPERATOR_IN,
	NotIn:          pb.FieldFilter_OPERATOR_NOT_IN,
	StartsWith:     pb.FieldFilter_OPERATOR_STARTS_WITH,
	Contains:       pb.FieldFilter_OPERATOR_CONTAINS,
	Exists:         pb.FieldFilter_OPERATOR_EXISTS,
}

// Filter is a condition of a query: a comparison made by Compare, or several conditions joined by And, Or and Not.
type Filter struct {
	field    string
	operator Operator
	value    any

	joint pb.CompositeFilter_Joint
	parts []Filter
}

// Compare returns a filter that compares a field with a value, e.g. Compare("geo.lat", "<", 47.5).
func Compare(field string, operator Operator, value any) Filter {
	return Filter{field: field, operator: operator, value: value}
}

// And returns a filter that matches if all of the filters match.
func And(filters ...Filter) Filter {
	return Filter{joint: pb.CompositeFilter_JOINT_AND, parts: filters}
}

// Or returns a filter that matches if at least one of the filters matches.
func Or(filters ...Filter) Filter {
	return Filter{joint: pb.CompositeFilter_JOINT_OR, parts: filters}
}

// Not returns a filter that matches if the filter does not, e.g. entries without its field.
func Not(filter Filter) Filter {
	return Filter{joint: pb.CompositeFilter_JOINT_NOT, parts: []Filter{filter}}
}

func encodeFilters(filters []Filter, where string, depth int) ([]*pb.Filter, error) {
	messages := make([]*pb.Filter, len(filters))
	for place, filter := range filters {
		message, err := filter.encode(fmt.Sprintf("%s[%d]", where, place), depth)
		if err != nil {
			return nil, err
		}
		messages[place] = message
	}
	return messages, nil
}

func (f Filter) encode(where string, depth int) (*pb.Filter, error) {
	if f.joint != pb.CompositeFilter_JOINT_UNSPECIFIED {
		return f.encodeJoined(where, depth)
	}
	if err := checkField(f.field, where+".field_path"); err != nil {
		return nil, err
	}
	operator, known := operators[f.operator]
	if !known {
		return nil, invalidQuery(where+".operator", "%q is not an operator", f.operator)
	}
	value, err := toValue(f.value)
	if err != nil {
		return nil, err
	}
	if takes := takenBy(f.operator, value); takes != "" {
		return nil, invalidQuery(where+".value", "the operator %q takes %s, not %T", f.operator, takes, f.value)
	}
	comparison := &pb.FieldFilter{FieldPath: f.field, Operator: operator, Value: value}
	return &pb.Filter{Kind: &pb.Filter_Field{Field: comparison}}, nil
}

func (f Filter) encodeJoined(where string, depth int) (*pb.Filter, error) {
	if len(f.parts) == 0 {
		return nil, invalidQuery(where, "a filter joins no filters; give at least one")
	}
	if depth >= FilterDepth {
		return nil, &Error{Reason: ErrLimitExceeded, Limit: "filter_depth", Maximum: FilterDepth, Field: where,
			Message: fmt.Sprintf("And, Or and Not are nested at most %d deep", FilterDepth)}
	}
	parts, err := encodeFilters(f.parts, where+".filters", depth+1)
	composite := &pb.CompositeFilter{Joint: f.joint, Filters: parts}
	return &pb.Filter{Kind: &pb.Filter_Composite{Composite: composite}}, err
}

// takenBy says what an operator takes instead of a value; "" if it takes the value.
func takenBy(operator Operator, value *pb.Value) string {
	switch value.Kind.(type) {
	case *pb.Value_ListValue:
		if operator == In || operator == NotIn {
			return ""
		}
	case *pb.Value_StringValue, *pb.Value_BytesValue, *pb.Value_KeyValue:
		if operator == StartsWith {
			return ""
		}
	case *pb.Value_BoolValue:
		if operator == Exists {
			return ""
		}
	}
	return map[Operator]string{
		In: "a list", NotIn: "a list", StartsWith: "a string, bytes or a key", Exists: "true or false",
	}[operator]
}
