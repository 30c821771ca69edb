package discoveryapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	discoveryv1 "github.com/toska-mesh/toska-mesh/api/discovery/v1"
	"github.com/toska-mesh/toska-mesh/api/discovery/v1/discoveryv1connect"
	problemv1 "github.com/toska-mesh/toska-mesh/api/problem/v1"
	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func TestEveryProtocolIsSpoken(t *testing.T) {
	n := start(t)
	hc := httpapi.NewClient(serviceToken)
	defer hc.CloseIdleConnections()
	for name, option := range map[string]connect.ClientOption{
		"connect": connect.WithClientOptions(), "gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb(), "connect with JSON": connect.WithProtoJSON(),
	} {
		t.Run(name, func(t *testing.T) {
			rpc := discoveryv1connect.NewDiscoveryClient(hc, "http://"+n.addr, option)
			if _, err := rpc.Register(t.Context(), &discoveryv1.RegisterRequest{Registration: &discoveryv1.Registration{
				Service: "web", Id: "w", Address: "10.0.0.7", Port: 9000}}); err != nil {
				t.Fatal(err)
			}
			list, err := rpc.List(t.Context(), &discoveryv1.ListRequest{Service: "WEB"})
			if err != nil || len(list.GetServices()) != 1 {
				t.Errorf("List: %v, %v", list, err)
			}
			_, err = rpc.Get(t.Context(), &discoveryv1.GetRequest{Id: "nobody"})
			var rpcErr *connect.Error
			if !errors.As(err, &rpcErr) || rpcErr.Code() != connect.CodeNotFound || len(rpcErr.Details()) != 1 {
				t.Fatalf("Get: %v, want not found with a detail", err)
			}
			m, err := rpcErr.Details()[0].Value()
			if err != nil {
				t.Fatal(err)
			}
			if p, ok := m.(*problemv1.Problem); !ok || p.GetCode() != mesh.CodeInstanceNone {
				t.Errorf("detail %v, want the code %s", m, mesh.CodeInstanceNone)
			}
		})
	}
}

func TestConnectWorksWithPlainHTTP1(t *testing.T) {
	n := start(t)
	status, _, body := n.do(t, "POST", "/toska.discovery.v1.Discovery/List", `{}`)
	if status != http.StatusOK || !strings.Contains(body, `"revision"`) {
		t.Errorf("List: %d %s", status, body)
	}
}

func TestSessionMustOpenFirst(t *testing.T) {
	n := start(t)
	hc := httpapi.NewClient(serviceToken)
	defer hc.CloseIdleConnections()
	stream, err := discoveryv1connect.NewDiscoveryClient(hc, "http://"+n.addr).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv1.SessionRequest{Kind: &discoveryv1.SessionRequest_Renew{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a renewal first: %v, want invalid argument", err)
	}
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}

func TestSessionIsToldWhereElseToGo(t *testing.T) {
	n := start(t)
	hc := httpapi.NewClient(serviceToken)
	defer hc.CloseIdleConnections()
	stream, err := discoveryv1connect.NewDiscoveryClient(hc, "http://"+n.addr).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv1.SessionRequest{Kind: &discoveryv1.SessionRequest_Open_{Open: &discoveryv1.SessionRequest_Open{
		Registration: &discoveryv1.Registration{Service: "web", Address: "10.0.0.7", Port: 1}}}}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	o := m.GetOpened()
	if o.GetRenewInterval().AsDuration() != mesh.RenewInterval || o.GetLease().AsDuration() != mesh.LeaseTTL ||
		len(o.GetMembers()) != 1 || o.GetMembers()[0] != "127.0.0.1:1" {
		t.Errorf("opened %v, want the interval, the lease and one member", o)
	}
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}
