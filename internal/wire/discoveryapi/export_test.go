package discoveryapi

import "net/http"

// NewClientOver lets a test bring its own connection.
func NewClientOver(hc *http.Client) *Client { return newClient("in-memory", "http://in-memory", hc) }
