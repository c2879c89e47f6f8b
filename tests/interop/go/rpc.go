package main

import (
	"errors"
	"strings"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
)

var rpcScenarios = map[string]func(*stage){
	"rpc":        rpc,
	"rpc-errors": rpcErrors,
}

func (c *client) call(to, method, payload string, timeout time.Duration) (string, error) {
	params := lksdk.PerformRpcParams{DestinationIdentity: to, Method: method, Payload: payload}
	if timeout > 0 {
		params.ResponseTimeout = &timeout
	}
	answer, err := c.LocalParticipant.PerformRpc(params)
	if err != nil {
		return "", err
	}
	return *answer, nil
}

// Calls are answered both ways, several at a time, with the largest payload there may be.
func rpc(s *stage) {
	alice, bob := s.join("alice"), s.join("bob")
	for _, c := range []*client{alice, bob} {
		must("method", c.RegisterRpcMethod("greet", func(call lksdk.RpcInvocationData) (string, error) {
			return call.CallerIdentity + ": " + call.Payload, nil
		}))
	}
	answer, err := alice.call("bob", "greet", "hello", 0)
	must("rpc", err)
	check(answer == "alice: hello", "answered %q", answer)
	large := strings.Repeat("x", lksdk.MaxPayloadBytes-100)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			answer, err := bob.call("alice", "greet", large, 0)
			must("rpc", err)
			check(answer == "bob: "+large, "answered %q", answer)
		})
	}
	all.Wait()
	ok("rpc")
}

// Whatever ends a call without an answer has an error of its own at the caller.
func rpcErrors(s *stage) {
	alice, bob, carol := s.join("alice"), s.join("bob"), s.join("carol")
	details := "details"
	called := make(chan struct{}, 1)
	for method, answer := range map[string]lksdk.RpcHandlerFunc{
		"custom": func(call lksdk.RpcInvocationData) (string, error) {
			return "", lksdk.NewRpcError(1234, "as asked", &details)
		},
		"plain": func(lksdk.RpcInvocationData) (string, error) { return "", errors.New("secret") },
		"large": func(lksdk.RpcInvocationData) (string, error) { return strings.Repeat("x", 20_000), nil },
		"slow": func(lksdk.RpcInvocationData) (string, error) {
			called <- struct{}{}
			time.Sleep(time.Minute)
			return "", nil
		},
	} {
		must("method", bob.RegisterRpcMethod(method, answer))
		must("method", carol.RegisterRpcMethod(method, answer))
	}
	failed := func(code lksdk.RpcErrorCode, to, method, payload string, timeout time.Duration) *lksdk.RpcError {
		_, err := alice.call(to, method, payload, timeout)
		var told *lksdk.RpcError
		check(errors.As(err, &told), "%s: %v", method, err)
		check(told.Code == code, "%s: %v instead of %d", method, told, code)
		ok("%d %s", code, told.Message)
		return told
	}
	custom := failed(1234, "bob", "custom", "", 0)
	check(custom.Message == "as asked" && *custom.Data == "details", "got %v", custom)
	failed(lksdk.RpcApplicationError, "bob", "plain", "", 0)
	failed(lksdk.RpcResponsePayloadTooLarge, "bob", "large", "", 0)
	failed(lksdk.RpcUnsupportedMethod, "bob", "nothing", "", 0)
	failed(lksdk.RpcRequestPayloadTooLarge, "bob", "plain", strings.Repeat("x", 20_000), 0)
	failed(lksdk.RpcResponseTimeout, "bob", "slow", "", 2*time.Second)
	failed(lksdk.RpcConnectionTimeout, "nobody", "plain", "", 0)

	go func() {
		<-called // by alice's call that timed out
		<-called
		carol.Disconnect()
	}()
	failed(lksdk.RpcRecipientDisconnected, "carol", "slow", "", 0)
}
