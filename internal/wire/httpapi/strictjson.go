package httpapi

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// StrictJSON is the JSON codec of RPCs in which a field that does not exist is an error, as it is over
// REST: a misspelt field is never silently without effect.
type StrictJSON struct{}

// Name implements connect.Codec.
func (StrictJSON) Name() string { return "json" }

// Marshal implements connect.Codec.
func (StrictJSON) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	return protojson.Marshal(m)
}

// Unmarshal implements connect.Codec.
func (StrictJSON) Unmarshal(b []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	if len(b) == 0 {
		return errors.New("the body is empty, and not a JSON object")
	}
	return protojson.Unmarshal(b, m)
}
