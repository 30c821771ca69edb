package exchange

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Refuse answers with a problem for a client's own fault, and ends the connection: after a fault of
// framing nobody knows where the next request begins.
func Refuse(x *Exchange, fault *ClientError) {
	problem(x, fault.Status, fault.Code, fault.Detail, allowed, true)
}

// Problem answers with an RFC 9457 problem document, of the same shape as control's, and records the code. After the answer has
// started it can only record it. Details are our own words: nothing of the request is repeated.
func Problem(x *Exchange, status int, code, detail string) {
	problem(x, status, code, detail, allowed, false)
}

// MethodProblem answers 405 with a problem document; allow are the methods that the path takes.
func MethodProblem(x *Exchange, code, detail string, allow []string) {
	problem(x, http.StatusMethodNotAllowed, code, detail, strings.Join(allow, ", "), false)
}

// allowed are the methods that are served at all, but for rarer ones.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

func problem(x *Exchange, status int, code, detail, allow string, last bool) {
	x.Record.Code, x.Record.Reason = code, detail
	if x.Answer.Started() {
		return
	}
	x.Record.Status = status
	b := make([]byte, 0, 256)
	b = append(b, `{"title":"`...)
	b = append(b, StatusText(status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"detail":`...)
	b = appendJSON(b, detail)
	b = append(b, `,"code":"`...)
	b = append(b, code...)
	b = append(b, `","request_id":"`...)
	b = append(b, x.Request.ID...)
	b = append(b, "\"}\n"...)
	fields := problemFields
	switch status {
	case http.StatusMethodNotAllowed:
		fields = append(slices.Clip(fields), Field{Name: []byte("Allow"), Value: []byte(allow)})
	case http.StatusUpgradeRequired:
		fields = problemFieldsUpgrade
	}
	h := Head{Status: status, Fields: fields, Length: int64(len(b)), Close: last}
	if x.Answer.Start(&h) != nil || x.Answer.Write(b, true) != nil || x.Answer.End(nil) != nil {
		x.Record.ClientGone = true
	}
}

// appendJSON appends a string of our own words.
func appendJSON(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always can be
	return append(b, q...)
}

var problemFields = Fields{
	{Name: []byte("Content-Type"), Value: []byte("application/problem+json")},
	{Name: []byte("Cache-Control"), Value: []byte("no-store")},
}

// problemFieldsUpgrade say what can be upgraded to: RFC 9110 section 15.5.22, RFC 6455 section 4.4.
var problemFieldsUpgrade = append(slices.Clip(problemFields),
	Field{Name: []byte("Connection"), Value: []byte("Upgrade")},
	Field{Name: []byte("Upgrade"), Value: []byte("websocket")},
	Field{Name: []byte("Sec-WebSocket-Version"), Value: []byte("13")})

// StatusText returns the standard reason phrase of a status, or "Status" for one that has none.
func StatusText(status int) string {
	if s := http.StatusText(status); s != "" {
		return s
	}
	return "Status"
}
