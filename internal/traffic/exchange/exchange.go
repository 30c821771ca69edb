package exchange

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/poll"
)

// Exchange is one request and its answer.
type Exchange struct {
	Request Request
	// Body is the request's body; never nil.
	Body Body
	// Answer takes the answer.
	Answer Answer
	// Carrier runs the exchange on an event loop; nil where a goroutine of its own does.
	Carrier *poll.Carrier
	// Bounds of the client: the listener's, unless the handler sets others before it pulls the body or
	// answers.
	Bounds Bounds
	// Record is what the signals will tell of the exchange; handlers fill in what they know.
	Record Record
}

// Handler answers exchanges. One that blocks on anything but the exchange itself, or hands it to another
// goroutine, calls Carrier.Leave first. When it returns, the exchange has been answered, or the protocol ends
// the connection.
type Handler interface {
	ServeExchange(ctx context.Context, x *Exchange)
}

// Request is the head of a request. Its slices live until the exchange ends.
type Request struct {
	Method []byte
	// Target is the request target as it was received.
	Target []byte
	// Path is the canonical path: it begins with '/', has no dot segments, no empty segments, and its
	// percent encodings are of the one normal form.
	Path []byte
	// EncodedSlash says that Path holds %2F, which only some routes take.
	EncodedSlash bool
	// Query is what follows '?', exactly as it was received.
	Query []byte
	// HasQuery tells "/x?" from "/x".
	HasQuery bool
	// Host is the authority as it was received, or the target's when the target is absolute.
	Host []byte
	// Scheme is that of the listener.
	Scheme string
	// Listener is the name of the listener.
	Listener string
	// Secure is what the TLS handshake established; nil on a plain connection.
	Secure *Secure
	// Minor is 0 or 1: HTTP/1.0 or HTTP/1.1. Protocols above say 1.
	Minor  int
	Fields Fields
	// Nominated holds the names that Connection lists: they are said to this hop only.
	Nominated [][]byte
	// Length is the body's: Unknown when it is chunked, 0 without one.
	Length int64
	// WebSocket says that the client asks to upgrade to the websocket protocol.
	WebSocket bool
	// Trailers says that the client takes trailers (TE: trailers).
	Trailers bool
	// Client is the peer of the connection, or whom a PROXY header named in its place, and Local the
	// address that it connected to.
	Client, Local netip.AddrPort
	// Origin is the client that a trusted proxy speaks for; invalid without one. Via is what such proxies
	// said of the way before the peer, ForwardedHost the host that the client asked for.
	Origin        netip.Addr
	Via           [][]byte
	ForwardedHost []byte
	// Received is when the head was complete.
	Received time.Time
	// Hops is how many gateways of this mesh the request has passed, by the word of whoever sent it: it
	// is only ever raised.
	Hops int
	// ID is the request's id: the client's own if it is sane, else made here.
	ID []byte
	// Trace is the trace context that is passed on, and Traced says that the client began it.
	Trace  Trace
	Traced bool
}

// Unknown is the Length of a body whose end is not known before it is read.
const Unknown = -1

// Body is a message's body, pulled piece by piece.
type Body interface {
	// Next returns the next piece, valid until the call after; io.EOF after the last. Errors of the
	// sender are *ClientError.
	Next() ([]byte, error)
	// Buffered returns what has arrived already, without waiting, and whether that is all there is.
	Buffered() (piece []byte, last bool)
	// Trailers returns the trailer fields after Next said io.EOF.
	Trailers() Fields
	// Stop makes a blocked Next return with an error, from another goroutine. The body cannot be read
	// after, and a connection that it came over is not kept.
	Stop()
}

// NoBody is the Body of a message without one.
type NoBody struct{}

// Next says io.EOF.
func (NoBody) Next() ([]byte, error) { return nil, io.EOF }

// Buffered says that there is nothing, and that it is all.
func (NoBody) Buffered() ([]byte, bool) { return nil, true }

// Trailers returns none.
func (NoBody) Trailers() Fields { return nil }

// Stop does nothing: Next never waits.
func (NoBody) Stop() {}

// Head is the head of an answer.
type Head struct {
	Status int
	// Reason may be empty: the protocol knows the standard ones.
	Reason []byte
	Fields Fields
	// Nominated holds the names that the answer's own Connection lists.
	Nominated [][]byte
	// Length is the body's: Unknown when its end is not known before.
	Length int64
	// Close says that the connection cannot go on after this answer: what follows on it cannot be told
	// from what belongs to this request.
	Close bool
	// Bodiless answers have no body whatever Length says: it is then what a GET would have had.
	Bodiless bool
}

// Answer takes one answer: any number of interim ones, a head, pieces of a body, an end. The writer
// may hold a head back to send it with the first piece.
type Answer interface {
	// Interim sends a 1xx answer.
	Interim(status int, f Fields) error
	// Start takes the final head.
	Start(h *Head) error
	// Started reports whether a final head was taken.
	Started() bool
	// Write takes a piece of the body. last lets the writer send it together with the end; End is
	// called all the same.
	Write(p []byte, last bool) error
	// Flush sends what is held back.
	Flush() error
	// Alive reports, without waiting, whether the client may still be there: one that has only said that
	// nothing more comes from it is.
	Alive() bool
	// End completes the answer.
	End(trailers Fields) error
	// Tunnel sends a 101 head and hands over the connection both ways.
	Tunnel(h *Head) (Tunnel, error)
}

// Tunnel is a client's connection after an upgrade.
type Tunnel interface {
	io.Writer
	// Next returns the next bytes from the client, valid until the call after; io.EOF at their end.
	Next() ([]byte, error)
	// Until makes Next return os.ErrDeadlineExceeded once t has passed, after which Next may be called again;
	// the zero time is never. Whoever calls Next calls it.
	Until(t time.Time)
	// Wake makes a Next that waits, or the next one, return os.ErrDeadlineExceeded, from another goroutine.
	Wake()
	// WriteUntil breaks the writes that are not done when t has passed, from another goroutine too; the zero
	// time is never.
	WriteUntil(t time.Time) error
	// Draining reports whether the peer's listener has been told to end its connections. Next is woken when
	// that begins.
	Draining() bool
	// CloseWrite tells the client that nothing more comes.
	CloseWrite() error
	// Abort makes a blocked Next and Write return.
	Abort()
}

// ErrClientGone is a client whose connection broke or that stopped reading or sending.
var ErrClientGone = errors.New("client gone")

// ClientError is a fault of the client: what it sent is malformed, too large or too slow.
type ClientError struct {
	// Status to answer with if nothing was answered yet.
	Status int
	// Code is the stable code.
	Code string
	// Detail says what is wrong, without repeating hostile bytes.
	Detail string
}

// Error returns the detail.
func (e *ClientError) Error() string { return e.Detail }

// Codes of what is wrong with a request itself.
const (
	CodeBadRequest     = "TOSKA-REQ-MALFORMED"
	CodeBadPath        = "TOSKA-REQ-PATH"
	CodeBadHost        = "TOSKA-REQ-HOST"
	CodeMisdirected    = "TOSKA-REQ-MISDIRECTED"
	CodeBadFraming     = "TOSKA-REQ-FRAMING"
	CodeFieldsTooLarge = "TOSKA-REQ-FIELDS-TOO-LARGE"
	CodeURITooLong     = "TOSKA-REQ-URI-TOO-LONG"
	CodeBodyTooLarge   = "TOSKA-REQ-BODY-TOO-LARGE"
	CodeMethod         = "TOSKA-REQ-METHOD"
	CodeVersion        = "TOSKA-REQ-VERSION"
	CodeExpect         = "TOSKA-REQ-EXPECT"
	CodeRequestTimeout = "TOSKA-REQ-TIMEOUT"
	CodeTransferCoding = "TOSKA-REQ-TRANSFER-CODING"
	// CodeShutdown is an exchange that the gateway's own end cut short.
	CodeShutdown = "TOSKA-SHUTDOWN"
)
