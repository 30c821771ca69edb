package exchange

// Detach copies everything that aliases the connection's buffer, so that the buffer can go back while
// the exchange lives on: a tunnel may last for days.
func (r *Request) Detach() {
	r.Via, r.ForwardedHost = nil, nil // they have gone on with the head
	n := len(r.Method) + len(r.Target) + len(r.Path) + len(r.Query) + len(r.Host) + len(r.ID)
	for i := range r.Fields {
		n += len(r.Fields[i].Name) + len(r.Fields[i].Value)
	}
	for _, name := range r.Nominated {
		n += len(name)
	}
	room := make([]byte, 0, n)
	move := func(b []byte) []byte {
		start := len(room)
		room = append(room, b...)
		return room[start:len(room):len(room)]
	}
	r.Method, r.Target, r.Path = move(r.Method), move(r.Target), move(r.Path)
	r.Query, r.Host, r.ID = move(r.Query), move(r.Host), move(r.ID)
	fields := make(Fields, len(r.Fields))
	for i, f := range r.Fields {
		fields[i] = Field{Name: move(f.Name), Value: move(f.Value), Kind: f.Kind}
	}
	r.Fields = fields
	names := make([][]byte, len(r.Nominated))
	for i, name := range r.Nominated {
		names[i] = move(name)
	}
	r.Nominated = names
}
